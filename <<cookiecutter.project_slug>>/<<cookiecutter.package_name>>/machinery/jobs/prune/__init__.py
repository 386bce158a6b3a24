"""What nobody needs any more, deleted: runs, versions, models and outputs."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/prune.yaml."""

    keep: int
    older_than: str | None
    dry_run: bool
