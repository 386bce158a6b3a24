"""A version made champion by hand, and who decided it."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/promote.yaml."""

    version: str
    approver: str
    reason: str | None
    to: str | None
