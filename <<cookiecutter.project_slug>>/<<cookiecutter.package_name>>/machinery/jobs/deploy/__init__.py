"""The version that an alias names, answering over HTTP: started, compared, switched to, and the one before it ended."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/deploy.yaml."""

    action: str
    approver: str | None
    untracked: ClassVar[tuple[str, ...]] = ("status", "stop")  # actions that need no server, and are no run
