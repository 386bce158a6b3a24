"""Runs side by side: which parameters differ, and what each scored; or two versions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from ...errors import ConfigError, ProjectError, cut
from ...evaluation.bootstrap import Bootstrap
from ...evaluation.result import as_errors
from ...mlflow import run_history
from ...mlflow.run_history import Run
from ...report import pages
from ...result import StageResult
from . import labelled

if TYPE_CHECKING:
    from ...config.schema import Columns, Evaluation, Task, Type
    from ...pipeline.store import Store

Rows = list[tuple[str, list[str]]]  # what, and how each run has it
ABOUT = {"gate": "gate", "registered": "version", "git.commit": "commit", "data.digest": "digest of the data"}
COSTS = ("megabytes", "latency_ms")
SHORT = 4  # letters of an id that are enough
WIDE = 24  # letters of a column that is printed
NONE = "–"


def compare(
    store: Store,
    *,
    runs: list[str],
    like: str | None,
    most: int,
    versions: list[str],
    input: str | None,
    labels: str | None,
    registered_model: str,
    columns: Columns,
    missing: list[str],
    types: dict[str, Type],
    task: Task,
    evaluation: Evaluation,
    seed: int,
    choices: dict[str, str],
) -> StageResult:
    """The `runs`, or the run `like` and at most `most` others that are most like it, as a table and a page.

    Or the two `versions` of the registered model, by the rows of `input` whose `labels` have come. Raises ConfigError
    where nothing says what is compared, and ProjectError where there is no such run, or nothing to compare it with.
    """
    if sum(map(bool, (like, runs, versions))) != 1 or (runs and len(runs) < 2):
        raise ConfigError(
            "compare takes two runs or more as runs=[...], or one as like=...: the first letters of ids do; or "
            "versions=[3,4] of the model with input=... and labels=..."
        )
    if versions:
        pair = labelled.pair(versions, registered_model, data=choices["data"])
        bootstrap = Bootstrap(columns, task, evaluation, seed)
        return labelled.contest(store, pair, bootstrap, input, labels, types=types, missing=missing)
    if most < 1:
        raise ConfigError(f"most={most}: a count is 1 or more")
    known = [run for run in run_history.history() if run.status == "FINISHED" and run.params]
    chosen = _nearest(_named(like, known), known, most) if like else [_named(each, known) for each in runs]
    about, differing, scores = _about(chosen), _differing(chosen), _scores(chosen)
    best = {name: _best(name, chosen) for name, _ in scores}
    sections = {"parameter": differing, "score": scores, "run": about}
    table = [
        {"kind": kind, "name": name} | dict(zip(_headings(chosen), values, strict=True))
        for kind, rows in sections.items()
        for name, values in rows
    ]
    summary = f"{len(chosen)} runs, {len(differing)} parameters differ"
    page = pages.render(
        str(__package__),
        "compare.html",
        title="Runs compared",
        about=summary,
        headings=_headings(chosen),
        sections={"Parameters that differ": differing, "Scores": scores, "Runs": about},
        best=best,
    )
    return StageResult(
        f"compare   {summary}\n{_printed(chosen, differing, scores)}",
        scores={"runs": len(chosen), "parameters": len(differing)},
        tables={"comparison": pl.DataFrame(table)},
        texts={"compare.html": page},
    )


def _named(wanted: str, known: list[Run]) -> Run:
    """The newest run that `wanted` names: by its id or the first letters of it, its name, or a `models:/` address."""
    name = run_history.run_of(wanted)
    for run in known:
        if run.name == name or (len(name) >= SHORT and run.id.startswith(name)):
            return run
    newest = f"; the newest are {cut([run.name for run in known[:5]])}" if known else ""
    raise ProjectError(f"there is no finished run {wanted} in this experiment{newest}")


def _nearest(run: Run, known: list[Run], most: int) -> list[Run]:
    """`run`, and the others of its dataset and target by the share of their parameters that are the same."""
    others = [each for each in known if each.id != run.id and _kind(each) == _kind(run)]
    if not others:
        raise ProjectError(f"like={run.name}: it is the only one of data={run.params.get('data')}: nothing is like it")

    def share(each: Run) -> float:
        return len(each.params.items() & run.params.items()) / len(each.params.keys() | run.params.keys())

    return [run, *sorted(others, key=share, reverse=True)[:most]]


def _kind(run: Run) -> tuple[str | None, str | None, bool]:
    """What runs have to have in common: dataset, target, and whether they were scored."""
    return run.params.get("data"), run.params.get("target"), any(name.startswith("test_") for name in run.metrics)


def _headings(runs: list[Run]) -> list[str]:
    """A name for each run that no other has."""
    return [f"{run.name} ({run.id[:8]})" for run in runs]


def _about(runs: list[Run]) -> Rows:
    began = [f"{datetime.fromtimestamp(run.start / 1000, UTC):%Y-%m-%d %H:%M} UTC" for run in runs]
    return [("started", began), *((title, [run.tags.get(tag, NONE) for run in runs]) for tag, title in ABOUT.items())]


def _differing(runs: list[Run]) -> Rows:
    """The parameters that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.params)
    rows = [(name, [run.params.get(name, NONE) for run in runs]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def _scores(runs: list[Run]) -> Rows:
    """The scores on test rows, and what a model costs."""
    logged = dict.fromkeys(name for run in runs for name in run.metrics if name.startswith("test_") or name in COSTS)
    ends = ("_low", "_high")  # of an interval
    names = [name for name in logged if not name.endswith(ends)]
    return [(name, [_number(run.metrics.get(name)) for run in runs]) for name in names]


def _best(name: str, runs: list[Run]) -> str | None:
    """The best value of the score `name`, as it is shown; of errors, size and latency the least is."""
    values = [run.metrics[name] for run in runs if name in run.metrics]
    tested = {each.removeprefix("test_"): 0.0 for run in runs for each in run.metrics}
    lessens = name in (*COSTS, "test_mape", *(f"test_{error}" for error in as_errors(tested)))
    return _number((min if lessens else max)(values)) if len(set(values)) > 1 else None


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.4f}" if abs(value) < 10_000 else f"{value:,.6g}"


def _printed(runs: list[Run], differing: Rows, scores: Rows) -> str:
    """The table as it is printed."""

    def cell(text: str) -> str:
        return f"{text if len(text) <= WIDE else text[: WIDE - 1] + '…':>{WIDE}}"

    heads = [("", [run.name for run in runs]), ("", [run.id[:8] for run in runs])]
    lines = [f"  {name:<34}{'  '.join(map(cell, values))}" for name, values in [*heads, *differing, ("", []), *scores]]
    return "\n".join(line.rstrip() for line in lines)
