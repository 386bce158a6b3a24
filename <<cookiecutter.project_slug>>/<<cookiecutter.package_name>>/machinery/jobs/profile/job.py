"""A first description of a new table: a file in conf/data/, and a page with the reasons."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...config import compose
from ...config.binding import bound
from ...config.overrides import typed_arguments
from ...config.schema import Type
from ...data import expectations, formats, parsing, roles, sources
from ...data import leakage as leaks
from ...errors import ConfigError, ProjectError, close, one_line
from ...mlflow import tracking
from ...report import pages
from ...result import StageResult
from . import column_roles, column_types, dataset_file, model_choice, profiles, suggestions

if TYPE_CHECKING:
    from ...config.schema import Leakage
    from ...layout import Layout
    from ...pipeline.store import Store

SAMPLE = 50_000  # rows, evenly spread; only counts and types are of all rows
SHOWN = 50  # columns in the terminal; the page has all
TIPS = 8  # suggestions there
TRIED = 2_000  # rows at most on which models are compared
CELLS = 100_000  # of them, times the trees that a round of boosting takes: more cells take too long
_ODD = "odd=missing force=true takes what is none as missing"  # the word that profile is given once more


def profile(
    store: Store,
    *,
    path: str,
    target: str | None,
    name: str | None,
    query: str | None,
    force: bool,
    odd: str | None,
    trial_seconds: float,
    leakage: Leakage,
    raw_config: dict[str, Any],
    overrides: list[str],
    layout: Layout,
) -> StageResult:
    """Reads the table at `path` and writes conf/data/`name`.yaml: columns' roles and types, task, split, expectations.

    `target`: the column to predict; without one the task is anomaly. `query`: of a database. `odd`: what becomes of the
    few values that are not of the type of their column, "missing" or, with None, that the column stays text. Models are
    compared for `trial_seconds` at most. Raises ProjectError for what is not a table, a target that cannot be
    predicted, and a file that exists already without `force`.
    """
    if odd not in (None, "missing"):
        raise ConfigError(f"odd={odd}: it is missing, or null: a column with odd values stays text")
    file = _file(name, raw_config["path"], path, layout, force=force)
    name = file.stem
    tracking.rename(f"profile-{name}")
    given = typed_arguments(overrides, "source")
    source, seen, opened = open_table(path, raw_config["path"], query=query, target=target, given=given)
    table = _typed(source, opened, raw_config["path"], target=target, odd=odd)
    rows, sample = table.rows, table.sample
    columns, kind = _decided(table, target, leakage)
    classes = profiles.classes(table.answers) if table.answers is not None and kind != "regression" else {}
    defaults, task, split = profiles.settings(columns, kind, classes, rows=rows)
    expected = profiles.expectations(columns, profiles.facts(columns, table.typed), rows=rows)
    expected = expectations.met(expected, sample.lazy())

    title = f"{name}: {rows:,} rows x {len(columns)} columns of {_written(path, path, raw_config['path'], layout.root)}"
    write = partial(
        dataset_file.text,
        columns,
        title=title,
        source={key: _written(value, path, raw_config["path"], layout.root) for key, value in source.items()},
        missing=table.reading.missing,
        types=table.reading.types,
        task=task,
        split=split,
        expectations=expected,
    )
    _keep(store, file, write(defaults=defaults), names=sample.columns, layout=layout)
    trial = _tried(table, defaults, columns, classes, name=name, seconds=trial_seconds, layout=layout) if kind else {}
    written = write(defaults=defaults)
    store.replace(file, written)
    tips = suggestions.worth_a_try(columns, sample)
    notes = [*seen, *_notes(columns, table, odd)]
    page = pages.render(
        str(__package__),
        "profile.html",
        title=name,
        summary=f"{rows:,} rows, {len(columns)} columns; task: {defaults['/task'][0]}",
        target=target or "nothing",
        sampled=len(sample) if len(sample) < rows else 0,
        rows=[_shown(column, sample) for column in columns],
        notes=[*_chosen(defaults, task, split), *(f"worth a try: {each}" for each in tips), *notes],
    )
    lines = [*_chosen(defaults, task, split), *(f"worth a try: {each}" for each in tips[:TIPS])]
    lines += [f"  and {len(tips) - TIPS} more: profile.html of the run has all"] if len(tips) > TIPS else []
    return StageResult(
        "\n".join([_terminal(columns), "", *lines]) + "\n"
        f"wrote conf/data/{file.name}: read it, change what you know better, then\n"
        f"  uv run mlflow run . --env-manager local -P data={name}",
        scores={"rows": rows, "columns": len(columns), "features": _features(columns), **trial},
        texts={"profile.html": page, f"{name}.yaml.txt": written},
        tags={"data": name},
        notes=notes,
    )


def _keep(store: Store, file: Path, text: str, *, names: list[str], layout: Layout) -> None:
    """Writes `text` to `file`, once the line takes it: its configuration, and the table's columns `names`.

    Raises ProjectError where it does not; the file is as it was then.
    """
    before = file.read_text("utf-8") if file.exists() else None
    store.replace(file, text)
    try:
        config, _ = compose.resolve(layout, [f"data={file.stem}"])
        with sources.reading():
            scanned = str(config.source["_target_"]).rpartition(".")[2].startswith("scan_")  # others read it all again
            plain = pl.LazyFrame(schema=dict.fromkeys(names, pl.String))
            table = bound(config.source, name="source")() if scanned else plain
            found = parsing.read(table, config.types, missing=config.missing).collect_schema().names()
        roles.refuse_missing(config.columns, found)
        if found != names:
            raise ProjectError("names of columns would be read otherwise than they are: rename them in the source")
    except BaseException as error:
        file.unlink() if before is None else store.replace(file, before)
        if isinstance(error, ProjectError):
            raise ProjectError(f"conf/data/{file.name} cannot be written: {error}") from error
        raise


@dataclass
class _Table:
    """A table whose texts are read as their types."""

    reading: column_types.Reading
    odd: dict[str, tuple[int, int]]  # of columns of which most values have a type: how many have not, the first's row
    typed: pl.LazyFrame
    sample: pl.DataFrame  # of the typed rows, evenly spread
    rows: int
    repeated: int  # rows that repeat another
    counts: dict[str, dict[str, int]]
    answers: pl.Series | None  # the target of all rows


def _file(name: str | None, typed: str, path: str, layout: Layout, *, force: bool) -> Path:
    """The file to write, in conf/data/: of the table's name where no `name` is given."""
    last = "" if "${" in typed else Path(path.partition("?")[0].rstrip("/")).name.partition(".")[0]
    name = name or re.sub(r"\W+", "_", last).strip("_") or "table"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise ProjectError(f"name={name}: letters, digits, - and _ make the name of a file in conf/data/")
    file = layout.conf / "data" / f"{name}.yaml"
    if file.exists() and not force:
        raise ProjectError(f"conf/data/{name}.yaml is there already: name=... writes another, force=true replaces it")
    return file


def open_table(
    path: str, named: str, *, query: str | None, target: str | None, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str], tuple[pl.LazyFrame, pl.DataFrame, int]]:
    """The section `source` for `path`, with arguments that are `given`; notes on what was decided; and its table.

    Of the table all rows, SAMPLE of them, and their number. A text that polars does not take is read by our own reader.
    Raises ProjectError for what is not a table, and for a line that is damaged.
    """
    source, notes = formats.guess(path, query=query, names=[target] if target else [], given=given)
    try:
        return source, notes, _sampled(source, named)
    except ProjectError:
        if not (other := formats.lenient(source)):
            raise
    notes.append("it has quotes that polars does not take, and is read as Python's csv reads")
    return other, notes, _sampled(other, named)


def _sampled(source: dict[str, Any], named: str) -> tuple[pl.LazyFrame, pl.DataFrame, int]:
    with sources.reading(source, named):
        table = bound(source, name="source")().lazy()
        rows = table.select(pl.len()).collect(engine="streaming").item()
        return table, leaks.sample(table, rows=rows, most=SAMPLE), rows


def _typed(
    source: dict[str, Any],
    opened: tuple[pl.LazyFrame, pl.DataFrame, int],
    named: str,
    *,
    target: str | None,
    odd: str | None,
) -> _Table:
    """The table `opened` at `source`, `named` so in sentences, its columns read as the types that their texts have."""
    table, raw, rows = opened
    if not rows:
        raise ProjectError(f"{named} has no rows")
    if target is not None and target not in raw.columns:
        raise ProjectError(_no_target(target, raw.columns, source))
    if "split" in raw.columns:
        raise ProjectError(
            f"{named} has a column split, which is the name of the one that this project adds: rename it"
        )
    reading = column_types.read(raw, target=target, comma=source.get("separator") == ";")
    with sources.reading():
        strange = _settle(reading, table, target=target, sampled=len(raw) < rows, odd=odd)
        typed, sample = (
            profiles.as_modelled(parsing.read(each, reading.read_as, missing=reading.missing))
            for each in (table, raw.lazy())
        )
        answers = typed.select(target).collect(engine="streaming").to_series() if target else None
        counts, repeated = profiles.counts(typed), column_roles.repeats(typed)
        return _Table(reading, strange, typed, sample.collect(), rows, repeated, counts, answers)


def _settle(
    reading: column_types.Reading, table: pl.LazyFrame, *, target: str | None, sampled: bool, odd: str | None
) -> dict[str, tuple[int, int]]:
    """The columns of which some values, though not most, are not of the type that they seem to have: see unreadable.

    `reading` then has them as text, or, where `odd` is "missing", as that type, and the labels of a row of such values
    alone (a line of units, a sum) as missing.
    """
    if sampled:  # rows beyond the sample may not be of these types
        reading.missing = sorted({*reading.missing, *column_types.SPELLINGS})
        for each in parsing.unreadable(table, reading.read_as, missing=reading.missing):
            reading.nearly[each], reading.types[each] = reading.types[each], {"kind": "text"}
    nearly = {name: Type(**type_) for name, type_ in reading.nearly.items()}
    strange = parsing.unreadable(table, nearly, missing=reading.missing) if nearly else {}
    if odd != "missing" or not strange:
        return strange
    for each in strange:
        reading.types[each] = {**reading.nearly[each], "odd": odd}
    if target is not None and reading.types.get(target) == {"kind": "text"}:
        labels = parsing.odd_rows(table, nearly, missing=reading.missing).select(pl.col(target).str.strip_chars())
        few = labels.head(10).collect(engine="streaming").to_series().drop_nulls()
        same = table.select(pl.col(target).str.strip_chars()).filter(pl.col(target).is_in(few.unique().implode()))
        counted = dict(same.collect(engine="streaming").to_series().value_counts().iter_rows())
        alone = [label for label in few.unique() if counted[label] == few.to_list().count(label)]
        reading.missing = sorted({*reading.missing, *alone})
    return strange


def _decided(table: _Table, target: str | None, leakage: Leakage) -> tuple[list[profiles.Column], str | None]:
    """The columns of `table` with their roles, and the kind of the task; None without a `target`."""
    sample, rows = table.sample, table.rows
    columns = profiles.columns(sample, table.counts, rows=rows, target=target, personal=table.reading.personal)
    profiles.doubt(columns, table.odd, table.reading)
    kind = _task(table.answers, next((each.doubt for each in columns if each.name == target), ""))
    column_roles.assign_roles(columns, sample, rows=rows, repeated=table.repeated)
    if target is not None and kind is not None:
        names = [column.name for column in columns if column.role in ("feature", "time")]
        scores = leaks.tell_all(sample, target=target, kind=kind, names=names)
        profiles.associate(columns, sample, target=target)
        column_roles.drop_leaks(columns, scores, threshold=leakage.threshold, target=target)
    column_roles.twins(columns, sample)
    counting = [column.name for column in columns if column.role in ("feature", "time", "target")]
    repeated = float(sample.select(counting).is_duplicated().to_numpy().mean())
    column_roles.settle_key(columns, repeated=repeated, by_chance=leaks.by_chance(sample.lazy(), names=counting))
    if not [column for column in columns if column.role in ("feature", "time")]:
        raise ProjectError(f"no column is left to predict {target} from: {_reasons(columns) or 'there is no other'}")
    return columns, kind


def _task(answers: pl.Series | None, doubt: str) -> str | None:
    """The kind of the task; an error of a target that is nearly of another type says so."""
    try:
        return None if answers is None else profiles.task(answers)
    except ProjectError:
        if not doubt:
            raise
        name = answers.name if answers is not None else ""
        way_out = "" if doubt == column_types.NOT_UNDERSTOOD else f": mend it in the source, or {_ODD}"
        raise ProjectError(f"target={name}: {doubt}{way_out}") from None


def _features(columns: list[profiles.Column]) -> int:
    return sum(each.role in ("feature", "time") for each in columns)


def _tried(
    table: _Table,
    defaults: dict[str, tuple[str, str]],
    columns: list[profiles.Column],
    classes: dict[Any, int],
    *,
    name: str,
    seconds: float,
    layout: Layout,
) -> dict[str, float]:
    """The mean scores of a few models on a sample of `table`; the one that suits it becomes the model in `defaults`.

    Empty, and `defaults` as they are, for no `seconds` and where the models cannot be fitted or scored.
    """
    if seconds <= 0 or table.answers is None:
        return {}
    target, kind = table.answers.name, defaults["/task"][0]
    models = ["ridge" if kind == "regression" else "logistic", "boosting" if len(classes) <= 10 else "forest"]
    if defaults.get("override /model", ("", ""))[1] not in profiles.LARGE:
        models.append("blend")
    most = min(TRIED, max(500, CELLS // (_features(columns) * max(1, len(classes) - 1))))
    labelled = table.typed.filter(pl.col(target).is_not_null())
    rows = labelled.gather_every(-(-table.rows // most)).collect(engine="streaming")
    try:
        metric, scores = model_choice.cross_validated(layout, rows, data=name, models=models, seconds=seconds)
    except Exception as error:
        why = tracking.sentence_of(error, any(each.sensitive for each in columns))
        defaults.setdefault("override /model", ("blend", f"models could not be compared: {why}"))
        return {}
    means = {model: sum(values) / len(values) for model, values in scores.items()}
    listed = ", ".join(f"{model} {mean:.4f}" for model, mean in means.items())
    slow = "".join(f"; {each} not compared in trial_seconds={seconds:g}" for each in models if each not in scores)
    how = f"{metric} in {len(next(iter(scores.values())))} folds of {len(rows):,} rows: {listed}{slow}"
    if len(scores) > 1:
        defaults["override /model"] = (model_choice.chosen(scores), how)
    else:  # nothing to compare it with
        defaults["override /model"] = (defaults.get("override /model", ("blend", ""))[0], how)
    return {f"cv_{metric}_{model}": mean for model, mean in means.items()}


def _notes(columns: list[profiles.Column], table: _Table, odd: str | None) -> list[str]:
    """Sentences on what the table holds that it should perhaps not: odd values, repeated rows."""
    notes = []
    doubts = "; ".join(f"{each.name}: {each.doubt}" for each in columns[:SHOWN] if each.name in table.odd)
    if doubts:
        notes.append(f"{doubts}: " + ("taken as missing" if odd else f"mend the source, or {_ODD}"))
    notes += [f"{name}: {remark}" for name, remark in table.reading.remarks.items()]
    if table.repeated:
        notes.append(
            f"{table.repeated:,} of {table.rows:,} rows repeat another one, and stay on one side of the split with it; "
            "take out of the source what stands there twice by mistake"
        )
    return notes


def _no_target(target: str, names: list[str], source: dict[str, Any]) -> str:
    """The sentence of an error: the table has no column `target`, but `names`; and what to type instead."""
    if len(names) == 1 and source["_target_"].endswith("_csv"):
        way_out = "the text seems to have one column only: source.separator=... says what stands between its columns"
        return f"target={target}: the table has no such column; {way_out}"
    if source["_target_"].endswith("_csv") and any(
        re.fullmatch(r"[-+]?\d+([.,]\d+)?(_duplicated_\d+)?", each) for each in names
    ):
        way_out = f"its first line looks like data: name the target column_0 to column_{len(names) - 1}"
        return f"target={target}: the table has no such column; {way_out}"
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return f"target={target}: the table has no such column; it has {shown}{close(target, names, otherwise='')}"


def _chosen(*sections: dict[str, tuple[Any, str]]) -> list[str]:
    """A line for each choice in `sections`, with its reason: "split: time (trained on the past, ...)"."""
    named = {key.rpartition("/")[2]: value for section in sections for key, value in section.items()}
    return [f"{key}: {value}" + (f" ({why})" if why else "") for key, (value, why) in named.items()]


def _reasons(columns: list[profiles.Column]) -> str:
    return "; ".join(f"{each.name} is {each.reason or each.role}" for each in columns[:SHOWN] if each.role != "target")


def _written(value: Any, path: str, raw_config: str, root: Path) -> Any:
    """An argument of the source as the file writes it: a path relative to the project, an interpolation as typed.

    What lies in the same repository as the project counts as its own: colleagues and CI have it at the same place.
    """
    if isinstance(value, dict):
        return {key: _written(each, path, raw_config, root) for key, each in value.items()}
    if value == f"sqlite:///{path}":
        return f"sqlite:///{_written(path, path, raw_config, root)}"
    if value != path:
        return value
    if "://" in path or "${" in raw_config:
        return raw_config
    own = root.resolve()
    whole = next((folder for folder in (own, *own.parents) if (folder / ".git").exists()), own)
    place = Path(os.path.abspath(path))
    place = place if place.is_relative_to(root) else place.resolve()
    if place.is_relative_to(root):  # as it is called here, though it may be a link
        return place.relative_to(root).as_posix()
    return Path(os.path.relpath(place, own)).as_posix() if place.is_relative_to(whole) else raw_config


def _shown(column: profiles.Column, sample: pl.DataFrame) -> dict[str, Any]:
    """A column's row on the page; a sensitive column's has no values."""
    drawn = [] if column.sensitive or column.role == "key" else profiles.bars(sample[column.name])
    return {**vars(column), "holds": profiles.holds(column), "bars": drawn}


def _terminal(columns: list[profiles.Column]) -> str:
    """A line for each column: its name, role, type and counts, and the reason."""
    lines = []
    for column in columns[:SHOWN]:
        label = one_line(column.name)
        label = label if len(label) <= 28 else label[:27] + "…"
        becomes = column.role + (", sensitive" if column.sensitive else "")
        why = column.reason or (f"association {column.association:.2f}" if column.association else "")
        held = f"{profiles.holds(column)}, {dataset_file.value_counts(column)}"
        lines.append(f"  {label:<28}  {becomes:<15}  {held:<44}  {why}".rstrip())
    if len(columns) > SHOWN:
        lines.append(f"  and {len(columns) - SHOWN:,} more: profile.html of the run has all")
    return "\n".join(lines)
