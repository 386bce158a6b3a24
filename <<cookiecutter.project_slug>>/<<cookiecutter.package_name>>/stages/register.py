"""The candidate in the registry: champion where it passes the gates, challenger where it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from .. import gates, registry, splits
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns, Gate, Split, Task
    from ..store import Store


def register(
    store: Store,
    *,
    gate: Gate,
    task: Task,
    columns: Columns,
    split: Split,
    seed: int,
    registered_model: str,
    tags: dict[str, str | None],
    dirty: str,
    model_id: str,
) -> Outcome:
    """Registers the candidate unless that very model is registered already, and moves the alias it has earned."""
    trained, evaluated = store.outcome("train").facts, store.outcome("evaluate").facts
    first = task.metrics[0] if evaluated["test"] else None
    compared = (evaluated["candidate"][first], evaluated["champion"][first]) if "champion" in evaluated else None
    found = gates.verdicts(
        evaluated["test"],
        metric=first,
        baseline=evaluated["baseline"].get(first),
        compared=compared,
        hindrance=evaluated.get("hindrance"),
        min_gain=gate.min_gain,
        max_loss=gate.max_loss,
        min_scores=gate.min_scores,
        dirty=dirty if gate.clean_tree else None,
    )
    passed = all(verdict.passed for verdict in found)
    alias = "champion" if passed else "challenger"
    record = splits.record(
        store.table("split").drop("split").collect_schema().names(),
        by=split.by,
        shares=splits.shares(test=split.test, validation=split.validation, train=split.train),
        roles=columns,
        seed=seed,
        gap=split.gap,
        cuts=store.outcome("split").facts["cuts"],
    )
    version = registry.twin(registered_model, trained["digest"])
    known = version is not None
    version = version or registry.register(
        registered_model,
        model_id,
        description=_description(trained["estimator"], columns.target, evaluated),
        tags={"digest": trained["digest"], "trained": json.dumps(record)}
        | {name: value for name, value in tags.items() if value is not None},
    )
    registry.crown(version, alias=alias, against=evaluated["against"])
    title = f"{version.name} version {version.version}"
    return Outcome(
        f"{title}{', registered before as the same model' if known else ''}: {alias}",
        facts={
            "name": version.name,
            "version": version.version,
            "alias": alias,
            "verdict": "passed" if passed else "failed",
            "reasons": [verdict.sentence for verdict in found if passed or not verdict.passed],
            "aliases": registry.aliases(version.name),
        },
        tags={"gate": "passed" if passed else "failed", "registered": f"{version.name}/{version.version}"}
        | {
            f"gate.{verdict.name}": f"{'passed' if verdict.passed else 'failed'}: {verdict.sentence}"
            for verdict in found
        },
        tables={"gates": pl.DataFrame([vars(verdict) for verdict in found])},
    )


def _description(estimator: str, target: str | None, evaluated: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} {value:.4f}" for name, value in evaluated["test"].items()) or "not scored"
    return f"{estimator} predicting {target or 'anomalies'}: {scores} on {evaluated['rows']:,} test rows."
