"""Whether a registered model is still right: for the rows of a table, or where it is served."""

from dataclasses import dataclass


@dataclass
class Arguments:
    """The keys that this job adds to the configuration; their values stand in conf/job/monitor.yaml."""

    input: str | None
    query: str | None
    version: str | None
    endpoint: str | None
    requests: int
    max_latency_ms: float | None
