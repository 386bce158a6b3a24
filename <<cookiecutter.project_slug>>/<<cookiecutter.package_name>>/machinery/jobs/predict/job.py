"""What a registered model answers for the rows of another table."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from tqdm import tqdm

from ...config.schema import Type
from ...config.validation import absence
from ...data import formats, parsing, sources
from ...engines.shared_model import SharedModel
from ...errors import ProjectError, inert, one_line
from ...mlflow import run_history
from ...result import StageResult
from ...serving import inputs
from . import databases, unseen_levels
from .distribution import distribution

if TYPE_CHECKING:
    from ...config.schema import Columns
    from ...pipeline.store import Store

DELTA = ".delta"
CARRIED = "\0carried"  # the column that holds those which are written as they came


def predict(
    store: Store,
    *,
    input: str | None,
    output: str,
    version: str | None,
    query: str | None,
    table: str | None,
    registered_model: str,
    source: dict[str, Any],
    columns: Columns,
    missing: list[str],
    types: dict[str, Type],
    choices: dict[str, str],
    raw_config: dict[str, Any],
) -> StageResult:
    """Writes what the champion, or `version`, answers for each row of `input` to `output`, in the rows' order.

    Beside the answers stand columns.key, or else all columns of the input but sensitive ones, as they came. Raises
    ProjectError for what the model cannot be asked about and what cannot be written; an output that was there stays
    then.
    """
    file = _file(output, table)
    read_by, named = inputs.described(input, query=query, source=source, names=types, typed=raw_config["input"])
    if file and input and Path(input).exists() and file.resolve() == Path(input).resolve():
        raise ProjectError(f"output={file.name} is the input, which it would replace: name another file")
    chosen = inputs.version(registered_model, version, data=choices["data"])
    shared = SharedModel(chosen.uri, chosen.noted.files)
    model = shared.model
    with sources.reading(read_by, named):
        parts, digest = inputs.opened(store, "predict", read_by)
        carried = _carried(pl.concat(parts), model.inputs, columns, named)
        if keys := {name: types[name] for name in columns.key if name in types}:  # a number joins with it again
            parts = [parsing.read(part, keys, missing=missing) for part in parts]
        how: dict[str, Any] = {"extra": [carried], "types": types, "missing": missing, "named": named}
        tables, (read, *_) = zip(*(inputs.selected(part, model.inputs, **how) for part in parts), strict=True)
        rows = pl.concat(tables).select(pl.len()).collect().item() if sys.stderr.isatty() else None
        explained = partial(sources.explained, pl.concat(parts), read, missing=missing)
        with explained():
            first = next(inputs.batches(pl.concat(tables)), None)
    if first is None:
        raise ProjectError(f"{named} has no rows")
    example = pl.from_pandas(model.answers(model.frame(first.head(1))))
    if clash := set(example.columns) & set(first.select(CARRIED).unnest(CARRIED).columns):
        raise ProjectError(f"{named} has a column {min(clash)}, as the answers have: rename it, or name columns.key")
    about = {
        "model": chosen.name,
        "model.version": chosen.version,
        "model.digest": chosen.digest,
        "model.run": run_history.run_of(chosen.uri),
        "data": named,
        "data.digest": digest,
    }
    if "threshold" in example.columns:
        about |= {
            "positive": model.positive or str(model.pipeline.classes_[-1]),
            "threshold": str(example["threshold"][0]),
        }
    kept = file if file and file.suffix != DELTA else store.path("predict") / "scores.parquet"
    with tqdm(total=rows, unit=" rows", unit_scale=True, disable=None) as bar, explained():
        tallies = store.output(kept, about, partial(_answer, shared=shared), list(tables), count=bar.update)
    tally: Counter[Any] = Counter()
    for each, _ in tallies:
        tally.update(each)  # to add them would leave out a sum below 0
    unseen: Counter[tuple[str, str]] = sum((each for _, each in tallies), Counter())
    if file and file.suffix == DELTA:
        try:
            store.next_version(kept, file, about)
        except Exception as error:  # of deltalake: a type that Delta has not, a table that others may not write
            raise ProjectError(f"output={file.name} cannot be written: {one_line(error)}") from error
    if file is None:
        databases.replace(output, str(table), pl.scan_parquet(kept).collect_batches(chunk_size=inputs.ROWS), about)
    secret = columns.target in columns.sensitive  # whose values a histogram would show
    deviation, figure = ({}, None) if secret else distribution(kept, example.columns)
    summary, scores = _summed(tally, "anomalies" if "score" in example.columns else about.get("positive"))
    where = file.name if file else f"table {table}"
    return StageResult(
        f"{tally['rows']:,} rows of {named} scored by {chosen.name} version {chosen.version} -> {where} ({summary})",
        scores={"rows": tally["rows"], **scores, **deviation},
        figures={"answers": figure} if figure else {},
        tags={name: value for name, value in about.items() if value},
        notes=list(filter(None, [unseen_levels.in_words(unseen, sensitive=model.made_of(columns.sensitive))])),
    )


def _answer(
    table: pl.LazyFrame, add: Callable[[pl.DataFrame], object], *, shared: SharedModel
) -> tuple[Counter[Any], Counter[tuple[str, str]]]:
    """Gives the answers for a part of a table to `add`: how many of each there are, and rows of levels never seen."""
    tally: Counter[Any] = Counter()
    unseen: Counter[tuple[str, str]] = Counter()
    for rows in inputs.batches(table):
        frame = shared.model.frame(rows)
        scored = pl.from_pandas(shared.model.answers(frame))
        unseen += unseen_levels.unseen(shared.model, frame)
        add(rows.select(CARRIED).unnest(CARRIED).hstack(scored))
        tally.update(_tally(scored))
    return tally, unseen


def _file(output: str, table: str | None) -> Path | None:
    """The file that `output` names; None where it is the address of a database."""
    if re.match(r"\w[\w+]*://", output):
        if output.partition(":")[0] in formats.STORES:
            raise ProjectError("output is a file of this machine, .parquet or .csv, or the address of a database")
        if not table:
            raise ProjectError("output is a database: say which table by table=...")
        databases.check_connection(output, table)
        return None
    path = Path(output)
    if path.suffix not in (".parquet", ".csv", DELTA):
        raise ProjectError(f"output={path.name}: its ending says what is written, .parquet, .csv or .delta")
    if table:
        raise ProjectError(f"table={table} is for an output that is a database, not for {path.name}: table=null")
    if path.suffix == DELTA and not find_spec("deltalake"):
        raise absence(f"output={path.name}", "deltalake", extra="delta")
    if (path.is_dir() and not (path.suffix == DELTA and (path / "_delta_log").is_dir())) or not path.parent.is_dir():
        raise ProjectError(f"output={output} {'is a folder' if path.is_dir() else 'stands in no folder that is there'}")
    return path


def _carried(raw: pl.LazyFrame, kinds: dict[str, str], columns: Columns, named: str) -> pl.Expr:
    """The columns of `raw` that are written as they came, as one column."""
    schema = raw.collect_schema()
    if absent := [name for name in (*kinds, *columns.key) if name not in schema]:
        way = ": columns.key=[] carries all columns along" if set(absent) <= set(columns.key) else ""
        raise ProjectError(f"{named} has no column {', '.join(absent)}; it has {', '.join(schema)}{way}")
    carried = columns.key or [name for name in schema if name not in columns.sensitive]
    if not carried:
        raise ProjectError(f"all columns of {named} are sensitive, and none would tell a row: name columns.key")
    return pl.struct(carried).alias(CARRIED)


def _tally(answers: pl.DataFrame) -> dict[Any, float]:
    """How many rows, how many of each answer, or, of numbers, their sum."""
    predicted = answers["prediction"]
    if predicted.dtype.is_float() and answers.columns == ["prediction"]:
        return {"rows": len(answers), "sum": float(predicted.cast(pl.Float64).sum())}
    return {"rows": len(answers)} | {("is", str(label)): count for label, count in predicted.value_counts().iter_rows()}


def _summed(tally: Counter[Any], wanted: str | None) -> tuple[str, dict[str, float]]:
    """A summary of all answers: the mean of numbers, or the share of the class `wanted`, else of the commonest."""
    if "sum" in tally:
        mean = tally["sum"] / tally["rows"]
        return f"mean {mean:,.6g}", {"mean_prediction": mean}
    counts = Counter({key[1]: count for key, count in tally.items() if key != "rows"})
    label = "True" if wanted == "anomalies" else wanted or counts.most_common(1)[0][0]
    share = counts[label] / tally["rows"]
    return f"{100 * share:.1f} % {inert(wanted or label)}", {"share": share}
