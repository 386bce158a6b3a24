"""Candidate, champion and dummy baseline, scored on the same untouched rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machinery.evaluation import calibration, curves, evaluation_data, measurement
from ..machinery.evaluation.bootstrap import Bootstrap
from ..machinery.evaluation.scored_model import score_model
from ..machinery.report import figures, model_report, sentences
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..machinery.config.schema import Columns, Evaluation, Split, Task
    from ..machinery.mlflow.registry import ModelVersion
    from ..machinery.pipeline.store import Store


def evaluate(
    store: Store,
    *,
    columns: Columns,
    task: Task,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    champion: ModelVersion | None,
) -> StageResult:
    """The candidate's scores on its test rows, with the baseline's and the champion's; figures and report."""
    data = evaluation_data.assemble(store, columns=columns, task=task, evaluation=evaluation)
    target = data.targets["test"]
    scored = score_model(data.model.pipeline, data.frames["test"], target, task)
    thresholds = calibration.threshold_table(scored)
    learned = curves.by_iteration(data, task) if columns.target else {}

    chosen = getattr(data.model.pipeline[-1], "threshold", None)
    answers = figures.of_answers(scored, target, task, curves=learned, thresholds=thresholds, chosen=chosen)

    bootstrap = Bootstrap(columns, task, evaluation, seed)
    digest = store.outcome(store.model_stage).model
    result = measurement.measure(data, scored, digest=digest, champion=champion, bootstrap=bootstrap)

    bars, drawn = figures.of_result(result), answers.result()
    result.figures.extend(drawn)
    svgs = {name: each.svg for name, each in drawn.items()}
    setup = model_report.Setup.of(store, columns, task, split, evaluation, seed)
    texts = model_report.texts(result, setup, title="Candidate", figures=svgs)
    return StageResult(
        sentences.headline(result),
        scores=result.measured(),
        curves=learned,
        facts=result.to_facts(),
        notes=sentences.notes(result),
        closing=sentences.score_table(result),
        figures={name: each.png for name, each in (drawn | bars.result()).items()},
        tables=figures.tables(result, thresholds),
        texts=texts | {f"{name}.svg": svg for name, svg in svgs.items()},
    )
