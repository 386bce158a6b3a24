"""The champion taken back, and the one before it put in its place."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/rollback.yaml."""

    approver: str | None
    reason: str | None
