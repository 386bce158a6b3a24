"""A first description of a new table: a file in conf/data/, and a page with the reasons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...config.binding import bound
from ...config.schema import Type
from ...data import expectations, formats, parsing, sources
from ...data import leakage as leaks
from ...errors import ProjectError, close
from ...report import pages
from ...result import StageResult
from . import dataset_file, profiles

if TYPE_CHECKING:
    from ...config.schema import Leakage
    from ...layout import Layout
    from ...pipeline.store import Store

SAMPLE = 50_000  # rows, evenly spread; only counts and types are of all rows
SHOWN = 50  # columns in the terminal; the page has all


def profile(
    store: Store,
    *,
    path: str,
    target: str | None,
    name: str | None,
    query: str | None,
    force: bool,
    leakage: Leakage,
    raw_config: dict[str, Any],
    layout: Layout,
) -> StageResult:
    """Reads the table at `path` and writes conf/data/`name`.yaml: columns' roles and types, task, split, expectations.

    `target`: the column to predict; without one the task is anomaly. `query`: of a database. Raises ProjectError for
    what is not a table, a target that cannot be predicted, and a file that exists already without `force`.
    """
    last = "" if "${" in raw_config["path"] else Path(path.partition("?")[0].rstrip("/")).name.partition(".")[0]
    name = name or re.sub(r"\W+", "_", last).strip("_") or "table"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise ProjectError(f"name={name}: letters, digits, - and _ make the name of a file in conf/data/")
    file = layout.conf / "data" / f"{name}.yaml"
    if file.exists() and not force:
        raise ProjectError(f"conf/data/{name}.yaml is there already: name=... writes another, force=true replaces it")
    source = formats.guess(path, query=query, target=target)
    try:
        with sources.reading():
            table = bound(source, name="source")().lazy()
            rows = table.select(pl.len()).collect(engine="streaming").item()
            raw = leaks.sample(table, rows=rows, most=SAMPLE)
    except ProjectError as error:
        where = formats.ragged(source)
        raise (ProjectError(f"{raw_config['path']}: {where}") if where else error) from error.__cause__
    if not rows:
        raise ProjectError(f"{raw_config['path']} has no rows")
    if target is not None and target not in raw.columns:
        raise ProjectError(_no_target(target, raw.columns, source))
    if "split" in raw.columns:
        raise ProjectError(
            f"{raw_config['path']} has a column split, which is the name of the one that this project adds: rename it"
        )
    missing, types, personal = profiles.read(
        raw,
        target=target,
        comma=source.get("separator") == ";",
        fits=lambda values, type_: parsing.fits(values, Type(**type_)),
    )
    read_as = {each: Type(**type_) for each, type_ in types.items()}
    with sources.reading():
        if len(raw) < rows:  # rows beyond the sample may not be of these types
            missing = sorted({*missing, *profiles.SPELLINGS})
            for each in parsing.unreadable(table, read_as, missing=missing):
                types[each], read_as[each] = {"kind": "text"}, Type("text")
        typed = parsing.read(table, read_as, missing=missing)
        counts = profiles.counts(typed)
        sample = parsing.read(raw.lazy(), read_as, missing=missing).collect()
        answers = typed.select(target).collect(engine="streaming").to_series() if target else None

    columns = profiles.columns(sample, counts, rows=rows, target=target, personal=personal)
    kind = profiles.task(answers) if answers is not None else None
    profiles.assign_roles(columns, sample, rows=rows)
    if target is not None and kind is not None:
        names = [column.name for column in columns if column.role in ("feature", "time")]
        scores = leaks.tell_all(sample, target=target, kind=kind, names=names)
        profiles.associate(columns, sample, target=target)
        profiles.drop_leaks(columns, scores, threshold=leakage.threshold, target=target)
    profiles.twins(columns, sample)
    counting = [column.name for column in columns if column.role in ("feature", "time", "target")]
    repeated = float(sample.select(counting).is_duplicated().to_numpy().mean())
    profiles.settle_key(columns, repeated=repeated, by_chance=leaks.by_chance(sample.lazy(), names=counting))
    if not [column for column in columns if column.role in ("feature", "time")]:
        raise ProjectError(f"no column is left to predict {target} from: {_reasons(columns) or 'there is no other'}")
    classes = profiles.classes(answers) if answers is not None and kind != "regression" else {}
    defaults, task, split = profiles.settings(columns, kind, classes, rows=rows)
    expected = profiles.expectations(columns, profiles.facts(columns, typed), rows=rows)
    expected = expectations.met(expected, sample.lazy())

    title = f"{name}: {rows:,} rows x {len(columns)} columns of {_written(path, path, raw_config['path'], layout.root)}"
    written = dataset_file.text(
        columns,
        title=title,
        source={key: _written(value, path, raw_config["path"], layout.root) for key, value in source.items()},
        missing=missing,
        types=types,
        task=task,
        defaults=defaults,
        split=split,
        expectations=expected,
    )
    store.replace(file, written)
    page = pages.render(
        str(__package__),
        "profile.html",
        title=name,
        summary=f"{rows:,} rows, {len(columns)} columns; task: {defaults['/task'][0]}",
        target=target or "nothing",
        sampled=len(sample) if len(sample) < rows else 0,
        rows=[_shown(column, sample) for column in columns],
    )
    return StageResult(
        f"{_terminal(columns)}\n\n{_chosen(defaults, task, split)}\n"
        f"wrote conf/data/{file.name}: read it, change what you know better, then\n"
        f"  uv run mlflow run . --env-manager local -P data={name}",
        scores={"rows": rows, "columns": len(columns), "features": sum(c.role in ("feature", "time") for c in columns)},
        texts={"profile.html": page, f"{name}.yaml.txt": written},
        tags={"data": name},
        notes=[
            f"the header names a column twice: the second is {each}" for each in raw.columns if "_duplicated_" in each
        ],
    )


def _no_target(target: str, names: list[str], source: dict[str, Any]) -> str:
    """The sentence of an error: the table has no column `target`, but `names`; and what to type instead."""
    if source["_target_"].endswith("_csv") and any(
        re.fullmatch(r"[-+]?\d+([.,]\d+)?(_duplicated_\d+)?", each) for each in names
    ):
        way_out = f"its first line looks like data: name the target column_0 to column_{len(names) - 1}"
        return f"target={target}: the table has no such column; {way_out}"
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return f"target={target}: the table has no such column; it has {shown}{close(target, names, otherwise='')}"


def _chosen(*sections: dict[str, tuple[Any, str]]) -> str:
    """A line for each choice in `sections`, with its reason: "split: time (trained on the past, ...)"."""
    named = {key.rpartition("/")[2]: value for section in sections for key, value in section.items()}
    return "\n".join(f"{key}: {value}" + (f" ({why})" if why else "") for key, (value, why) in named.items())


def _reasons(columns: list[profiles.Column]) -> str:
    return "; ".join(f"{each.name} is {each.reason or each.role}" for each in columns[:SHOWN] if each.role != "target")


def _written(value: Any, path: str, raw_config: str, root: Path) -> Any:
    """An argument of the source as the file writes it: a path relative to the project, an interpolation as typed."""
    if isinstance(value, dict):
        return {key: _written(each, path, raw_config, root) for key, each in value.items()}
    if value == f"sqlite:///{path}":
        return f"sqlite:///{_written(path, path, raw_config, root)}"
    if value != path:
        return value
    inside = "://" not in path and Path(path).is_relative_to(root)
    return str(Path(path).relative_to(root)) if inside else raw_config


def _shown(column: profiles.Column, sample: pl.DataFrame) -> dict[str, Any]:
    """A column's row on the page; a sensitive column's has no values."""
    drawn = [] if column.sensitive or column.role == "key" else profiles.bars(sample[column.name])
    return {**vars(column), "holds": profiles.holds(column), "bars": drawn}


def _terminal(columns: list[profiles.Column]) -> str:
    """A line for each column: its name, role, type and counts, and the reason."""
    lines = []
    for column in columns[:SHOWN]:
        label = column.name if len(column.name) <= 28 else column.name[:27] + "…"
        becomes = column.role + (", sensitive" if column.sensitive else "")
        why = column.reason or (f"association {column.association:.2f}" if column.association else "")
        held = f"{profiles.holds(column)}, {dataset_file.value_counts(column)}"
        lines.append(f"  {label:<28}  {becomes:<15}  {held:<44}  {why}".rstrip())
    if len(columns) > SHOWN:
        lines.append(f"  and {len(columns) - SHOWN:,} more: profile.html of the run has all")
    return "\n".join(lines)
