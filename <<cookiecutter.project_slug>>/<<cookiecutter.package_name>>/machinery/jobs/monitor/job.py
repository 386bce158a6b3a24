"""Whether a registered model is still right: for the rows of a table, or where it is served."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from ...config.schema import Type
from ...data import expectations as expected
from ...data import formats, frames, parsing, split_record
from ...errors import ProjectError
from ...evaluation import scoring
from ...evaluation.bootstrap import Bootstrap
from ...evaluation.scored_model import score_model
from ...mlflow import model_format, registry, tracking
from ...report import pages, plots
from ...result import StageResult
from ...serving import inputs, server_check
from . import alerts, column_counts, drift_figures, reference
from . import drift as drifts

if TYPE_CHECKING:
    from ...config.schema import Columns, Drift, Evaluation, Task
    from ...pipeline.store import Store

ALARM = 3  # exit code
SCORED = 100_000  # rows with labels, evenly spread, that scores are of
DRAWN = 8  # columns that have a figure
CHANGED = {"answers": "its answers changed", "target": "the target changed"}
WEBHOOK, TOKEN = "ALERT_WEBHOOK_URL", "ENDPOINT_TOKEN"  # in the environment


def monitor(
    store: Store,
    *,
    input: str | None,
    query: str | None,
    version: str | None,
    endpoint: str | None,
    requests: int,
    max_latency_ms: float | None,
    drift: Drift,
    registered_model: str,
    project: str,
    source: dict[str, Any],
    columns: Columns,
    missing: list[str],
    types: dict[str, Type],
    task: Task,
    expectations: list[dict[str, Any]],
    evaluation: Evaluation,
    seed: int,
    choices: dict[str, str],
    raw_config: dict[str, Any],
) -> StageResult:
    """Holds the rows of `input`, or the server at `endpoint`, to what was kept of the champion, or of `version`.

    An alarm ends the command with the exit code 3 and is sent to the webhook of the environment, as is the sentence
    with which the job is ProjectError: where rows cannot be read, or lack a column.
    """
    try:
        chosen = inputs.version(registered_model, version, data=choices["data"])
        if endpoint is not None:
            if input is not None or query is not None:
                raise ProjectError("input and endpoint are two questions: ask one, then the other")
            outcome = _probed(chosen, endpoint, requests=requests, max_latency_ms=max_latency_ms)
        else:
            model = _Model(chosen, store, columns, types, missing, task)
            named = inputs.name(raw_config["input"]) if input is not None else "the source"
            guessed = formats.guess(input, query=query, target=None) if input is not None else source
            seen = _seen(model, formats.like(guessed, source), named, whole=input is None)
            chance = Bootstrap(replace(columns, target=model.target), task, evaluation, seed)
            outcome = _compared(model, seen, chance, drift, expectations)
    except ProjectError as error:
        _alert(f"{registered_model} could not be watched: {tracking.told(error, bool(columns.sensitive))}")
        raise
    tracking.chart(registered_model, outcome.scores, experiment=f"{project}-monitoring", tags=outcome.tags)
    if outcome.code:
        failed = _alert(outcome.summary, model=chosen.name, version=chosen.version, look=tracking.ui_hint())
        outcome.notes += [failed] if failed else []
    return outcome


class _Model:
    """A registered model, what was kept of it, and how rows are read for it."""

    def __init__(
        self,
        chosen: registry.ModelVersion,
        store: Store,
        columns: Columns,
        types: dict[str, Type],
        missing: list[str],
        task: Task,
    ) -> None:
        self.chosen, self.store, self.columns, self.missing, self.task = chosen, store, columns, missing, task
        self.title = chosen.title
        if chosen.noted.trained is None:
            raise ProjectError(f"{self.title} was not registered by this project: which rows it knows cannot be told")
        self.record = chosen.noted.trained
        self.target = self.record.target
        self.model, self.reference = model_format.load(chosen.uri), reference.load(chosen)
        labels = getattr(self.model.pipeline, "classes_", np.array([0.0] if task.kind == "regression" else []))
        read_as = {"i": "integer", "u": "integer", "f": "number", "b": "boolean"}.get(labels.dtype.kind)
        label = {self.target: Type(read_as)} if self.target and read_as and labels.size else {}
        self.types = label | types

    def answers(self, frame: Any) -> Any:
        return self.model.answers(frame)


class _Seen(NamedTuple):
    """Rows, as they compare with what was kept of a model."""

    named: str
    digest: str
    table: pl.LazyFrame  # typed
    rows: int
    groups: int  # that belong together; as many as rows where nothing says so
    counts: dict[str, dict[str, Any]]  # of features, answers, and the target: see column_counts.counted
    labelled: pl.DataFrame  # those to score by


def _seen(model: _Model, read_by: dict[str, Any], named: str, *, whole: bool) -> _Seen:
    """All rows of a table; of the `whole` source, those are scored that were kept from the model."""
    stage, columns, target = "monitor", model.columns, model.target
    with inputs.reading(read_by, named):
        raw, digest = inputs.opened(model.store, stage, read_by)
        schema = raw.collect_schema()
        if absent := [name for name in model.model.inputs if name not in schema]:
            raise ProjectError(
                f"{named} has no column {', '.join(absent)}, which {model.title} takes; it has {', '.join(schema)}"
            )
        beside = [name for name in dict.fromkeys([target or "", *columns.group]) if name in schema]
        table, types = inputs.asked(
            raw,
            model.model.inputs,
            beside=[pl.col(name) for name in beside],
            types=model.types,
            missing=model.missing,
            named=named,
        )
        rows = table.select(pl.len()).collect().item()
        together = [name for name in columns.group if name in beside]
        groups = table.select(pl.struct(together).n_unique()).collect().item() if together else rows
        held = _held(model, raw) if whole and target in beside else None
    if not rows:
        raise ProjectError(f"{named} has no rows")
    step, at, labelled = max(1, rows // SCORED), 0, []
    counts: dict[str, dict[str, Any]] = {}
    for part in inputs.batches(table, raw, types, model.missing):
        frame = model.model.frame(part)
        found = {"features": frame, "answers": model.answers(frame)}
        if target in beside:
            known = part.with_columns(kept=True if held is None else held[at : at + len(part)])
            known = known.filter(pl.col(target).is_not_null())
            found |= {"target": known.select(target).to_pandas()} if "target" in model.reference else {}
            labelled.append(known.filter("kept").gather_every(step))
        for name, each in found.items():
            one = column_counts.counted(each, model.reference[name])
            counts[name] = column_counts.added(counts[name], one) if name in counts else one
        at += len(part)
    return _Seen(named, digest, table, rows, groups, counts, pl.concat(labelled) if labelled else pl.DataFrame())


def _held(model: _Model, raw: pl.LazyFrame) -> pl.Series:
    """Whether each row of the source was kept from the model; false where that cannot be told."""
    whole = parsing.read(raw, model.types, missing=model.missing)
    held = np.zeros(whole.select(pl.len()).collect().item(), dtype=bool)
    if split_record.can_replay(model.record, whole.collect_schema().names()):
        known = pl.col(model.target or "").is_not_null()  # as the stage split has it
        sides = split_record.replay(whole.filter(known), model.record)
        at = whole.select(known.arg_true()).collect().to_series()
        held[at.filter(sides == "test").to_numpy()] = True
    return pl.Series(held)


def _compared(
    model: _Model, seen: _Seen, chance: Bootstrap, drift: Drift, expectations: list[dict[str, Any]]
) -> StageResult:
    """What became of the columns, the answers, the labels and the scores, and which of it is an alarm."""
    found = _findings(model, seen, drift.ignore)
    scored, notes = _scored(model, seen, chance)
    was = vars(model.chosen.noted.scores) if model.chosen.noted.scores else None
    rate = drift.alarm_rate / 2 if scored else drift.alarm_rate  # the other half is the score's
    fall = _fall(was, scored, chance, drift.max_loss, rate) if scored and was else None
    if scored and not fall:
        first, value = next(iter(scored["test"].items()))
        notes.append(f"{first} {value:.4f} on {scored['rows']:,} rows with labels: nothing to compare it with")
    sure, adjusted = drifts.alarms(found, rate=rate, min_distance=drift.min_distance)
    if fall:
        found, adjusted = [*found, fall], [*adjusted, fall.p]
        sure += [fall] if fall.p <= rate else []
    held = _held_to(expectations, seen.table.select(set(model.model.inputs) - set(drift.ignore)), model.columns)
    failed = expected.failures(held) if held else []
    told = [f"  {each.label}: {each.sentence}{_apart(each)}" for each in sure]
    told += [f"  {line}" for line in failed]
    unseen = [f"{each.label}: {each.sentence}" for each in found if each.what == "unseen" and each not in sure]
    notes += [f"never seen in training: {line}" for line in unseen]
    if seen.rows < chance.evaluation.min_rows:
        notes.append(f"of {seen.rows} rows little can be told: only a great change would be found")
    what = f"{seen.rows:,} rows of {seen.named} beside {model.title}"
    rows = [
        vars(each) | {"name": each.label, "adjusted": p, "alarm": each in sure}
        for each, p in zip(found, adjusted, strict=True)
    ]
    verdict = _verdict(sure, f"{len(failed)} of {len(held.results)} expectations failed" if held and failed else "")
    scores = _scores(seen, found, sure, scored, failed)
    moved = ", ".join(dict.fromkeys(each.label for each in sure))
    tags = {"monitor": "alarm" if told else "quiet", "drifted": moved[:4000]}
    tags |= {"monitored": f"{model.chosen.name}/{model.chosen.version}", "data": seen.named, "data.digest": seen.digest}
    figures = _figures(model, seen, found, sure, drift.min_distance)
    content: dict[str, Any] = {
        "title": f"{model.title}: {seen.named}",
        "verdict": {"alarm": bool(told), "sentence": verdict},
        "about": f"{what}, fitted to {model.reference['features']['rows']:,} rows.",
        "rows": sorted(rows, key=lambda row: not row["alarm"]),
        "rate": rate,
        "least": drift.min_distance,
        "scores": _beside(was, scored),
        "confidence": chance.evaluation.confidence,
        "failed": failed,
        "expectations": len(held.results) if held else 0,
        "notes": notes,
        "figures": [{"title": name.replace("_", " "), "svg": plots.svg(figure)} for name, figure in figures.items()],
    }
    page = pages.render(str(__package__), "monitor.html", **content)
    return StageResult(
        "\n".join(
            [f"{what}: {verdict}", *told, *([f"  {fall.name}: {fall.sentence}"] if fall and fall not in sure else [])]
        ),
        scores=scores,
        tags=tags,
        notes=notes,
        figures=figures,
        tables={"drift": pl.DataFrame(content["rows"])},
        texts={"monitor.html": page} | ({"expectations.html": expected.page(held)} if held else {}),
        code=ALARM if told else 0,
    )


def _verdict(sure: list[drifts.Finding], failed: str) -> str:
    """All alarms in one sentence."""
    columns = ", ".join(dict.fromkeys(each.name for each in sure if each.part == "features"))
    told = [f"drift in {columns}"] if columns else []
    told += [words for part, words in CHANGED.items() if part in {each.part for each in sure}]
    told += [f"{each.name} fell" for each in sure if each.part == "score"]
    return "; ".join([*told, *([failed] if failed else [])]) or "no drift"


def _findings(model: _Model, seen: _Seen, ignore: list[str]) -> list[drifts.Finding]:
    """All that is tested: columns, but those of which it is said that they move; answers; labels."""
    known = [*model.model.inputs, *([model.target] if model.target else [])]
    for name in ignore:
        if name not in known:
            raise ProjectError(f"drift.ignore={name}: {model.title} has no such column; it has {', '.join(known)}")
    units, out = model.reference["units"], {*ignore, model.columns.time}
    sizes = {"features": units[0], "answers": units[1], "target": units[0]}
    found = []
    for part, counts in seen.counts.items():
        told = drifts.findings(model.reference[part], counts, units=(sizes[part], seen.groups), part=part)
        found += [each for each in told if part == "answers" or each.name not in out]
    return found


def _scored(model: _Model, seen: _Seen, chance: Bootstrap) -> tuple[dict[str, Any] | None, list[str]]:
    """The scores by what labels have arrived, and the interval of the first; or a sentence on why there are none."""
    rows, task = seen.labelled, chance.task
    if not len(rows) or not model.target:
        return None, []
    chance = replace(
        chance, columns=replace(chance.columns, group=[n for n in chance.columns.group if n in rows.columns])
    )
    if task.kind == "classification":
        labels = sorted(map(str, rows[model.target].unique()))
        if strange := [label for label in labels if label not in map(str, model.model.pipeline.classes_)]:
            known = ", ".join(map(str, model.model.pipeline.classes_))
            told = f"{', '.join(strange[:5])} is no class of {model.title}, which has {known}"
            return None, [f"{len(rows):,} rows have a label, and are not scored: {told}"]
        if len(labels) == 1:
            return None, [f"all {len(rows):,} rows with a label are {labels[0]}: no score tells of one class alone"]
    try:
        wanted = frames.target(rows, model.target, kind=task.kind)
        judge = score_model(model.model.pipeline, model.model.frame(rows), wanted, task)
        test = judge.scores(task.metrics)
        low, high = chance.interval(test[scoring.short(task.metrics[0])], chance.scores(judge, rows), rows)
    except ProjectError as error:
        return None, [f"{len(rows):,} rows have a label, and are not scored: {error}"]
    return {"test": test, "interval": [low, high], "rows": len(rows)}, []


def _fall(
    was: dict[str, Any], scored: dict[str, Any], chance: Bootstrap, max_loss: float, rate: float
) -> drifts.Finding | None:
    """Whether the deciding score is lower than it was when the model was registered; None where that cannot be told."""
    name = scoring.short(chance.task.metrics[0])
    sides = [(each["test"].get(name), *each["interval"]) for each in (was, scored)]
    if any(value is None for side in sides for value in side) or was["confidence"] != chance.evaluation.confidence:
        return None
    told = f"{was['test'][name]:.4f} when registered, {scored['test'][name]:.4f} on {scored['rows']:,} rows with labels"
    how = {"confidence": was["confidence"], "max_loss": max_loss, "rate": rate}
    return drifts.fallen(*sides, name=name, sentence=told, **how)


def _held_to(expectations: list[dict[str, Any]], table: pl.LazyFrame, columns: Columns) -> Any:
    """The result of the expectations about the table's columns, which labels are not: they may come later; None where
    there are none."""
    names = set(table.collect_schema().names())
    about = [
        each for each in expectations if names >= (of := expected.named(each["kwargs"], type_=each["type"])) and of
    ]
    if not about:
        return None
    result = expected.validate(expected.frame(table, about), expected.suite(about))
    return expected.masked(result, columns.sensitive)


def _scores(
    seen: _Seen,
    found: list[drifts.Finding],
    sure: list[drifts.Finding],
    scored: dict[str, Any] | None,
    failed: list[str],
) -> dict[str, float]:
    """What is drawn over time."""
    told: dict[str, float] = {"rows": seen.rows, "alarms": len(sure) + len(failed), "expectations_failed": len(failed)}
    for each in found:
        part = {"missing": "missing", "unseen": "unseen", "score": "loss"}.get(each.what, "distance")
        key = re.sub(r"[^\w\-. ]", "_", each.label.replace(": ", " "))
        told[f"{part}/{key}"] = max(each.distance, told.get(f"{part}/{key}", each.distance))
    if scored:
        told |= {f"score/{name}": value for name, value in scored["test"].items()} | {"labelled": scored["rows"]}
        first, (low, high) = next(iter(scored["test"])), scored["interval"]
        told |= {f"score/{first}_low": low, f"score/{first}_high": high} if low is not None else {}
    return told


def _beside(was: dict[str, Any] | None, scored: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row for each score, the deciding one first: at its registration, and now."""
    rows: list[dict[str, Any]] = []
    for name, value in (scored or {"test": {}})["test"].items():
        old, new = (each["interval"] if each and not rows else [None, None] for each in (was, scored))
        then = {"was": (was or {"test": {}})["test"].get(name), "was_low": old[0], "was_high": old[1]}
        rows.append({"metric": name, **then, "now": value, "low": new[0], "high": new[1]})
    return rows


def _figures(
    model: _Model, seen: _Seen, found: list[drifts.Finding], sure: list[drifts.Finding], least: float
) -> dict[str, Any]:
    """How far each column moved, and what those that moved most looked like and look like now."""
    tests = [each for each in found if each.what in ("values", "length")]
    tests = sorted(tests, key=lambda each: -each.distance)
    names = {each.label for each in sure}
    bars = [(_titled(each), each.distance, each.label in names) for each in tests]
    figures = {"drift": drift_figures.distances(bars, least=least)}
    first = [each for each in tests if each.label in names] or tests[:1]
    for at, each in enumerate(first[:DRAWN], start=1):
        was, now = (side["columns"][each.name] for side in (model.reference[each.part], seen.counts[each.part]))
        figures[f"moved_{at}"] = drift_figures.share_bars(drifts.bars(was, now, each.what), title=_titled(each))
    return figures


def _titled(found: drifts.Finding) -> str:
    return found.label if found.what == "values" else f"{found.label}, {found.what}"


def _apart(found: drifts.Finding) -> str:
    """How large a finding is, where its sentence does not say so."""
    return f" ({100 * found.distance:.0f} % of rows moved)" if found.what in ("values", "length", "words") else ""


def _probed(
    chosen: registry.ModelVersion, endpoint: str, *, requests: int, max_latency_ms: float | None
) -> StageResult:
    """Whether the server at `endpoint` answers recorded examples as the version `chosen` did, and how fast."""
    if not re.match(r"https?://[^/\s]+", endpoint):
        raise ProjectError(f"endpoint={endpoint}: it is an address such as http://localhost:8080")
    if requests < 1:
        raise ProjectError(f"requests={requests}: at least one is posted")
    examples, title = reference.load(chosen)["examples"], f"{chosen.name} version {chosen.version}"
    address = endpoint.rstrip("/").removesuffix("/invocations") + "/invocations"
    asked = server_check.replies(address, examples["request"].encode(), count=requests, token=os.environ.get(TOKEN))
    good = [each for each in asked if not each.why]
    right = [each for each in good if server_check.alike(each.answers, examples["answers"])]
    times = sorted(1000 * each.seconds for each in asked)
    slow = times[max(0, math.ceil(0.95 * len(times)) - 1)]
    alarms = [
        f"  {len(asked) - len(good)} of {len(asked)} requests are not answered: {bad.why}" for bad in asked if bad.why
    ][:1]
    if len(right) < len(good):
        alarms.append(
            f"  {len(good) - len(right)} of {len(good)} answers are other than {title}'s: is another version served?"
        )
    if max_latency_ms is not None and slow > max_latency_ms:
        alarms.append(f"  19 of 20 answers take up to {slow:.0f} ms, max_latency_ms={max_latency_ms:g}")
    middle = statistics.median(times)
    times_told = f"; half take up to {middle:.0f} ms, 19 of 20 {slow:.0f} ms" if good else ""
    summary = (
        f"{endpoint}: {len(right)} of {len(asked)} answers are {title}'s{times_told}"
        if good
        else f"{endpoint}: no answer"
    )
    scores = {"endpoint/answered": len(good) / len(asked), "endpoint/right": len(right) / len(asked)}
    scores |= {"endpoint/latency_p50_ms": middle, "endpoint/latency_p95_ms": slow}
    statuses = Counter(str(each.status or each.why) for each in asked)
    return StageResult(
        "\n".join([summary, *alarms]),
        scores=scores | {"alarms": len(alarms)},
        tags={
            "monitor": "alarm" if alarms else "quiet",
            "monitored": f"{chosen.name}/{chosen.version}",
            "statuses": ", ".join(f"{status} x {count}" for status, count in statuses.items()),
        },
        tables={
            "requests": pl.DataFrame(
                {
                    "ms": [1000 * each.seconds for each in asked],
                    "status": [each.status for each in asked],
                    "right": [each in right for each in asked],
                    "why": [each.why for each in asked],
                }
            )
        },
        code=ALARM if alarms else 0,
    )


def _alert(text: str, **about: Any) -> str | None:
    address = os.environ.get(WEBHOOK)
    return alerts.sent(address, text, **about) if address else None
