"""Runs side by side, which parameters differ and what each scored; and two versions on rows whose labels have come."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/compare.yaml."""

    runs: list[str]
    like: str | None
    most: int
    versions: list[str]
    input: str | None
    labels: str | None
