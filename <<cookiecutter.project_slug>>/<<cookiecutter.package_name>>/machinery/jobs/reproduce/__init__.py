"""A recorded run done again from nothing but what was recorded, and compared with it."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/reproduce.yaml."""

    run_id: str
    tolerance: float | None
