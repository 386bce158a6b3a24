"""Runs side by side: which parameters differ, and what each scored."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/compare.yaml."""

    runs: list[str]
    like: str | None
    most: int
