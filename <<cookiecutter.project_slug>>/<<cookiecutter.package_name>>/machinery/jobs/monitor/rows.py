"""The rows that a model is compared with: read as the model takes them, counted, and with the labels that arrived."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ...data import parsing, sources, split_record
from ...engines.shared_model import SharedModel
from ...errors import ProjectError
from ...mlflow import registry
from ...serving import inputs
from . import column_counts, reference

if TYPE_CHECKING:
    from ...config.schema import Columns, Task, Type
    from ...mlflow.version_tags import SplitRecord
    from ...model.loader import Model
    from ...pipeline.store import Store

SCORED = 100_000  # labelled rows, evenly spread, at most


@dataclass(frozen=True)
class MonitoredModel:
    """A registered model, the statistics stored with it, and how its columns are read."""

    version: registry.ModelVersion
    shared: SharedModel
    reference: dict[str, Any]  # {"features": counts, "answers": counts, "target": counts, "units": [262, 71], ...}
    record: SplitRecord  # of the table that it was trained on
    columns: Columns
    types: dict[str, Type]
    missing: list[str]

    @property
    def model(self) -> Model:
        return self.shared.model

    @property
    def target(self) -> str | None:
        """The column that it was trained to predict."""
        return self.record.target


@dataclass(frozen=True)
class ObservedRows:
    """A table's rows, counted between the same values as the rows that a model was trained on."""

    name: str  # of the table in a sentence
    digest: str
    table: pl.LazyFrame  # (rows, columns), typed
    rows: int
    groups: int  # of rows that belong together; as many as rows where columns.group is empty
    counts: dict[str, dict[str, Any]]  # {"features": counts, "answers": counts, "target": counts}, see column_counts
    labelled: pl.DataFrame  # the rows to score by: those that have a label


def load_model(
    version: registry.ModelVersion, *, columns: Columns, types: dict[str, Type], missing: list[str], task: Task
) -> MonitoredModel:
    """A version with what is stored with it. Raises ProjectError where it has no record of its training rows."""
    record = version.noted.trained
    if record is None:
        raise ProjectError(version.foreign)
    shared = SharedModel(version.uri, version.noted.files)
    label = inputs.label_type(shared.model, record.target, task)
    return MonitoredModel(version, shared, reference.load(version), record, columns, label | types, missing)


def observe(
    monitored: MonitoredModel, read_by: dict[str, Any], *, name: str, store: Store, is_source: bool
) -> ObservedRows:
    """All rows of the table that `read_by` describes as a source, {"_target_": "polars.scan_csv", "source": "x.csv"}.

    Where the table `is_source`, the one that models are trained on, only test rows are scored. Raises ProjectError for
    a table without rows and for a column that is missing or that the model cannot take.
    """
    model, target, groups = monitored.model, monitored.target, monitored.columns.group
    with sources.reading(read_by, name):
        parts, digest = inputs.opened(store, "monitor", read_by)
        raw = pl.concat(parts)
        schema = raw.collect_schema()
        if absent := [column for column in model.inputs if column not in schema]:
            raise ProjectError(
                f"{name} has no column {', '.join(absent)}, which {monitored.version.title} takes; "
                f"it has {', '.join(schema)}"
            )
        extra = [column for column in dict.fromkeys([target or "", *groups]) if column in schema]
        more = [pl.col(column) for column in extra]
        how: dict[str, Any] = {"extra": more, "types": monitored.types, "missing": monitored.missing, "named": name}
        table, types = inputs.selected(raw, model.inputs, **how)
        rows = table.select(pl.len()).collect().item()
        grouped_by = [column for column in groups if column in extra]
        together = table.select(pl.struct(grouped_by).n_unique()).collect().item() if grouped_by else rows
        tests = is_source and target in extra
        if tests and monitored.record.by == "stratified":  # whose ranks are of the whole table
            parts = [raw]
        if not rows:
            raise ProjectError(f"{name} has no rows")
        pairs = [(part, inputs.selected(part, model.inputs, **how)[0]) for part in parts]
        about = {"step": max(1, rows // SCORED), "target": target if target in extra else None, "tests": tests}
        with sources.explained(raw, types, missing=monitored.missing):
            observed = list(store.engine.map(partial(_observed, monitored=monitored, **about), pairs))
    counts: dict[str, dict[str, Any]] = reduce(_sum, (each for each, _ in observed))
    labelled = [each for _, each in observed if each.width]
    return ObservedRows(name, digest, table, rows, together, counts, pl.concat(labelled or [pl.DataFrame()]))


def _observed(
    pair: tuple[pl.LazyFrame, pl.LazyFrame], *, monitored: MonitoredModel, step: int, target: str | None, tests: bool
) -> tuple[dict[str, dict[str, Any]], pl.DataFrame]:
    """The counts of a part of the table, given raw and as it is asked about, and of its labelled rows one in each
    `step`; of test rows if it `tests`."""
    part, table = pair
    model, start, labelled = monitored.model, 0, []
    counts: dict[str, dict[str, Any]] = {}
    among = _in_test(monitored, part) if tests else None
    for batch in inputs.batches(table):
        frame = model.frame(batch)
        frames = {"features": frame, "answers": model.answers(frame)}
        if target:
            scored = True if among is None else among[start : start + len(batch)]
            has_label = batch.with_columns(kept=scored).filter(pl.col(target).is_not_null())
            frames |= {"target": has_label.select(target).to_pandas()} if "target" in monitored.reference else {}
            labelled.append(has_label.filter("kept").gather_every(step))
        more = {name: column_counts.count_like(monitored.reference[name], each) for name, each in frames.items()}
        counts, start = _sum(counts, more), start + len(batch)
    return counts, pl.concat(labelled or [pl.DataFrame()])


def _sum(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: column_counts.add(one[name], each) if name in one else each for name, each in other.items()}


def _in_test(monitored: MonitoredModel, raw: pl.LazyFrame) -> pl.Series:
    """Whether each row of the source was a test row of the model; all False where its split cannot be repeated."""
    whole = parsing.read(raw, monitored.types, missing=monitored.missing)
    in_test = np.zeros(whole.select(pl.len()).collect().item(), dtype=bool)
    if split_record.can_replay(monitored.record, whole.collect_schema().names()):
        has_label = pl.col(monitored.target or "").is_not_null()  # the stage split leaves out rows without a label
        sides = split_record.replay(whole.filter(has_label), monitored.record)
        places = whole.select(has_label.arg_true()).collect().to_series()
        in_test[places.filter(sides == "test").to_numpy()] = True
    return pl.Series(in_test)
