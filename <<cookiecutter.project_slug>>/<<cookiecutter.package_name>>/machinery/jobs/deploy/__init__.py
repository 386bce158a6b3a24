"""The version that an alias names, answering over HTTP: started, compared, switched to, and the one before it ended."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/deploy.yaml."""

    action: str
    approver: str | None
