"""What a registered model answers for the rows of another table."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/predict.yaml."""

    input: str | None
    output: str
    version: str | None
    query: str | None
    table: str | None
