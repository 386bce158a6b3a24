"""Whether the server at an address answers recorded examples as a version of the model did, and how fast."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from ...errors import ConfigError
from ...result import StageResult
from ...serving import server_check
from . import reference
from .content import ALARM

if TYPE_CHECKING:
    from ...mlflow.registry import ModelVersion

TOKEN = "ENDPOINT_TOKEN"  # in the environment


def probe(version: ModelVersion, endpoint: str, *, requests: int, max_latency_ms: float | None) -> StageResult:
    """Posts the examples stored with `version` to `endpoint`, `requests` times: who answered, rightly, how fast.

    An alarm: a request without an answer, an answer other than the stored one, a 95th percentile of the time above
    `max_latency_ms`. Raises ConfigError for an address that is none and for less than one request.
    """
    if not re.match(r"https?://[^/\s]+", endpoint):
        raise ConfigError(f"endpoint={endpoint}: it is an address such as http://localhost:8080")
    if requests < 1:
        raise ConfigError(f"requests={requests}: at least one is posted")
    examples = reference.load(version)["examples"]
    address = endpoint.rstrip("/").removesuffix("/invocations") + "/invocations"
    replies = server_check.replies(address, examples["request"].encode(), count=requests, token=os.environ.get(TOKEN))
    answered = [each for each in replies if not each.why]
    right = [each for each in answered if server_check.alike(each.answers, examples["answers"])]
    times = sorted(1000 * each.seconds for each in replies)
    median, slow = statistics.median(times), times[max(0, math.ceil(0.95 * len(times)) - 1)]
    count, unanswered, wrong = len(replies), len(replies) - len(answered), len(answered) - len(right)
    alarms = []
    if unanswered:
        reason = next(each.why for each in replies if each.why)
        alarms.append(f"  {unanswered} of {count} requests are not answered: {reason}")
    if wrong:
        what = f"{wrong} of {len(answered)} answers are other than {version.title}'s"
        alarms.append(f"  {what}: is another version served?")
    if max_latency_ms is not None and slow > max_latency_ms:
        alarms.append(f"  19 of 20 answers take up to {slow:.0f} ms, max_latency_ms={max_latency_ms:g}")
    summary = f"{endpoint}: no answer"
    if answered:
        speed = f"half take up to {median:.0f} ms, 19 of 20 {slow:.0f} ms"
        summary = f"{endpoint}: {len(right)} of {count} answers are {version.title}'s; {speed}"
    scores = {"endpoint/answered": len(answered) / count, "endpoint/right": len(right) / count}
    scores |= {"endpoint/latency_p50_ms": median, "endpoint/latency_p95_ms": slow}
    statuses = Counter(str(each.status or each.why) for each in replies)
    columns = {
        "ms": [1000 * each.seconds for each in replies],
        "status": [each.status for each in replies],
        "right": [each in right for each in replies],
        "why": [each.why for each in replies],
    }
    return StageResult(
        "\n".join([summary, *alarms]),
        scores=scores | {"alarms": len(alarms)},
        tags={
            "monitor": "alarm" if alarms else "quiet",
            "monitored": f"{version.name}/{version.version}",
            "statuses": ", ".join(f"{status} x {often}" for status, often in statuses.items()),
        },
        tables={"requests": pl.DataFrame(columns)},
        code=ALARM if alarms else 0,
    )
