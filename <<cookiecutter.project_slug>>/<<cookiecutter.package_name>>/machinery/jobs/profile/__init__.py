"""A first description of a new table: a file in conf/data/, and a page with the reasons."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/profile.yaml."""

    path: str
    target: str | None
    name: str | None
    query: str | None
    force: bool
    odd: str | None
    trial_seconds: float
