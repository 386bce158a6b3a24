"""The candidate in the registry: champion where it passes the gates (promotion=auto), challenger where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from .. import gates
from ..machinery.data import split_record
from ..machinery.errors import GateFailed
from ..machinery.evaluation import decision as decisions
from ..machinery.evaluation import gate_results
from ..machinery.evaluation.result import EvaluationResult
from ..machinery.mlflow import registration, registry
from ..machinery.pipeline import provenance
from ..machinery.report import model_report, sentences
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Gate
    from ..machinery.config.schema import Card, Columns, Evaluation, Split, Task
    from ..machinery.pipeline.store import Store

ROWS = 20  # test rows that are posted to the served candidate


def register(
    store: Store,
    *,
    gate: Gate,
    promotion: str,
    task: Task,
    columns: Columns,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    registered_model: str,
    card: Card,
    tags: dict[str, str],
    dirty: str,
    model_id: str,
) -> StageResult:
    """Registers the candidate unless that very model is registered already, and moves the alias that it has earned.

    With gate.on_fail=error it raises GateFailed where the gate fails, when that is done.
    """
    result, sides = EvaluationResult.from_facts(store.outcome("evaluate").facts), store.outcome("split").facts
    setup = model_report.Setup.of(store, columns, task, split, evaluation, seed, card)
    names = store.table("split").drop("split").collect_schema().names()
    version, is_new = registration.register_once(
        registered_model,
        model_id,
        digest=result.model.digest,
        description=sentences.description(result, setup, tags["dataset"]),
        about=sentences.purpose(columns.target, tags),
        trained=split_record.record_split(names, split=split, columns=columns, seed=seed, cuts=sides["cuts"]),
        tags=tags,
    )
    evidence = gate_results.Evidence(
        result,
        confidence=evaluation.confidence,
        min_rows=evaluation.min_rows,
        expectations=int(store.outcome("validate").scores["expectations"]),
        dirty=dirty,
        rolled_back=version.noted.rolled_back,
        served=lambda: _served(store, private=bool(columns.sensitive)),
    )
    results = gate_results.results(gates, gate, evidence)
    decision = decisions.decide(
        version, results, result=result, confidence=evaluation.confidence, promotion=promotion, who=provenance.user()
    )
    svgs = {name: (store.path("evaluate") / f"{name}.svg").read_text("utf-8") for name in result.figures}
    outcome = StageResult(
        f"{version.title}{'' if is_new else ', registered before as the same model'}: {decision.alias}",
        facts=decision.facts(),
        aliases=registry.aliases(version.name),
        closing=sentences.outcome(decision),
        notes=sentences.approval(decision),
        tags=decision.tags(),
        tables={"gates": pl.DataFrame([vars(each) for each in results])},
        texts=model_report.texts(result, setup, title=version.title, figures=svgs, decision=decision),
    )
    if gate.on_fail == "error" and not decision.passed:
        reasons = "; ".join(decision.reasons)
        raise GateFailed(f"{version.title} is {decision.alias}, the gate failed: {reasons}", outcome)
    return outcome


def _served(store: Store, *, private: bool) -> tuple[int, str]:
    """How many test rows were posted to the candidate, and how its answers differ from those here, or ""."""
    from ..machinery.serving import server_check  # imported where something is served: it takes a while

    rows = store.table("split").filter(pl.col("split") == "test").head(ROWS).collect()
    return len(rows), server_check.wrong_answer(store.model, rows, private=private) or ""
