"""What a registered model answers for the rows of another table."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from tqdm import tqdm

from .. import archives, databases, features, formats, predictions, registry, sources, texts
from ..config import Type, bound
from ..errors import Refused
from ..outcomes import Outcome

if TYPE_CHECKING:
    from ..config import Columns
    from ..store import Store

ROWS = 20_000  # asked about at a time
CARRIED = "\0carried"  # the column that holds those which are written as they came
READ_AS = {"number": "number", "boolean": "boolean", "date": "datetime"}  # texts, where `types` says nothing
SUITS: dict[str, Any] = {  # what a column may hold
    "number": lambda dtype: dtype.is_numeric() or dtype in (pl.Duration, pl.Time),
    "boolean": lambda dtype: dtype == pl.Boolean,
    "date": lambda dtype: dtype in (pl.Date, pl.Datetime),
    "text": lambda dtype: dtype in (pl.String, pl.Categorical, pl.Enum),
}


def predict(
    store: Store,
    *,
    input: str,
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
    stated: dict[str, Any],
) -> Outcome:
    """Writes what the champion, or `version`, answers for each row of `input` to `output`, in the rows' order.

    Beside the answers stand columns.key, or else all columns of the input but sensitive ones, as they came. Raises
    Refused for what the model cannot be asked about and what cannot be written; an output that was there stays then.
    """
    file, named = _file(output, table), _name(stated["input"])
    if file and Path(input).exists() and file.resolve() == Path(input).resolve():
        raise Refused(f"output={file.name} is the input, which it would replace: name another file")
    chosen = _version(registered_model, version, data=choices["data"])
    model, kinds = registry.load(chosen.uri)
    positive = predictions.positive(chosen.uri)
    read_by = formats.like(formats.guess(input, query=query, target=None), source)
    try:
        with sources.reading():
            raw = bound(read_by, name="input")().lazy()
            digest = sources.fingerprint(read_by, digest=store.digest) or store.save_table("predict", raw)
            if (store.path("predict") / "table.parquet").exists():  # what cannot be read again as it was is kept
                raw = store.table("predict")
            asked, types = _asked(raw, kinds, columns, types, missing, named)
            rows = asked.select(pl.len()).collect().item() if sys.stderr.isatty() else None
        batches = _batches(asked, raw, types, missing)
        first = next(batches, None)
    except Refused as error:
        where = formats.ragged(read_by)
        raise (Refused(f"{named}: {where}") if where else error) from error.__cause__
    if first is None:
        raise Refused(f"{named} has no rows")

    def answered(rows: pl.DataFrame) -> pl.DataFrame:
        return pl.from_pandas(predictions.answers(model, features.frame(rows, kinds), positive=positive))

    example = answered(first.head(1))
    if clash := set(example.columns) & set(first.select(CARRIED).unnest(CARRIED).columns):
        raise Refused(f"{named} has a column {min(clash)}, as the answers have: rename it, or name columns.key")
    about = {
        "model": chosen.name,
        "model.version": chosen.version,
        "model.digest": chosen.digest,
        "model.run": archives.run_of(chosen.uri),
        "data": named,
        "data.digest": digest,
    }
    if "threshold" in example.columns:
        about |= {"positive": positive or str(model.classes_[-1]), "threshold": str(example["threshold"][0])}
    tally: Counter[Any] = Counter()
    kept = file or store.path("predict") / "scores.parquet"
    with store.output(kept, about) as add, tqdm(total=rows, unit=" rows", unit_scale=True, disable=None) as bar:
        while first is not None:
            found = answered(first)
            add(first.select(CARRIED).unnest(CARRIED).hstack(found))
            tally.update(_tally(found))
            bar.update(len(found))
            first = next(batches, None)
    if file is None:
        databases.replace(output, str(table), pl.scan_parquet(kept).collect_batches(chunk_size=ROWS), about)
    told, scores = _summed(tally, "anomalies" if "score" in example.columns else about.get("positive"))
    where = file.name if file else f"table {table}"
    return Outcome(
        f"{tally['rows']:,} rows of {named} scored by {chosen.name} version {chosen.version} -> {where} ({told})",
        scores={"rows": tally["rows"], **scores},
        tags={name: value for name, value in about.items() if value},
    )


def _file(output: str, table: str | None) -> Path | None:
    """The file that `output` names; None where it is the address of a database."""
    if re.match(r"\w[\w+]*://", output):
        if output.partition(":")[0] in formats.STORES:
            raise Refused("output is a file of this machine, .parquet or .csv, or the address of a database")
        if not table:
            raise Refused("output is a database: say which table by table=...")
        databases.reach(output, table)
        return None
    path = Path(output)
    if path.suffix not in (".parquet", ".csv"):
        raise Refused(f"output={path.name}: its ending says what is written, .parquet or .csv")
    if table:
        raise Refused(f"table={table} is for an output that is a database, not for {path.name}: table=null")
    if path.is_dir() or not path.parent.is_dir():
        raise Refused(f"output={output} {'is a folder' if path.is_dir() else 'stands in no folder that is there'}")
    return path


def _version(name: str, wanted: str | None, *, data: str) -> registry.Registered:
    """The version of the model `name` that is `wanted`, by its number or an alias; None: the champion."""
    held = registry.aliases(name)
    number = held.get(wanted or "champion", {}).get("version", wanted or "")
    if number.isdigit() and (found := registry.version(name, number)):
        return found
    groups = [group for is_held in (True, False) for group in archives.versions(held=is_held).values()]
    numbers = sorted(int(each.version) for group in groups for each in group if each.name == name)
    there = f"it has {', '.join(map(str, numbers))}, taken as version=..." if numbers else "it has no version yet"
    if wanted is not None:
        raise Refused(f"version={wanted} of {name} is not there: {there}")
    raise Refused(f"{name} has no champion: `mlflow run .` with data={data} makes one if its gate passes; {there}")


def _asked(
    raw: pl.LazyFrame,
    kinds: dict[str, str],
    columns: Columns,
    types: dict[str, Type],
    missing: list[str],
    named: str,
) -> tuple[pl.LazyFrame, dict[str, Type]]:
    """The columns of `raw` that the model takes, texts read, beside the one CARRIED; and how texts are read."""
    schema = raw.collect_schema()
    if absent := [name for name in (*kinds, *columns.key) if name not in schema]:
        way = ": columns.key=[] carries all columns along" if set(absent) <= set(columns.key) else ""
        raise Refused(f"{named} has no column {', '.join(absent)}; it has {', '.join(schema)}{way}")
    carried = columns.key or [name for name in schema if name not in columns.sensitive]
    if not carried:
        raise Refused(f"all columns of {named} are sensitive, and none would tell a row: name columns.key")
    if keys := {
        name: types[name] for name in columns.key if name in types
    }:  # a number of the source joins with it again
        raw = texts.read(raw, keys, missing=missing)
    guessed = {name: Type(READ_AS[kind]) for name, kind in kinds.items() if kind in READ_AS}
    read = {name: type_ for name, type_ in guessed.items() if schema[name] == pl.String}
    read |= {name: types[name] for name in kinds if name in types}
    asked = texts.read(raw.select(pl.struct(carried).alias(CARRIED), *kinds), read, missing=missing)
    for name, dtype in asked.collect_schema().items():
        if name != CARRIED and dtype != pl.Null and not SUITS[kinds[name]](dtype):
            raise Refused(
                f"column {name} of {named} holds {dtype}, and the model takes a {kinds[name]}: "
                f"types.{name} can say how it is read"
            )
    return asked, read


def _batches(
    asked: pl.LazyFrame, raw: pl.LazyFrame, types: dict[str, Type], missing: list[str]
) -> Iterator[pl.DataFrame]:
    """The rows of `asked`, some at a time. Raises Refused for a value that cannot be read, naming column and row."""
    try:
        with sources.reading():
            yield from (rows for rows in asked.collect_batches(chunk_size=ROWS, lazy=True) if len(rows))
    except sources.Unreadable as error:
        found = texts.unreadable(raw.select(list(types)), types, missing=missing)
        told = "; ".join(
            f"column {name}: {count:,} values are no {types[name].kind}, the first in row {row:,}: mend them, or list "
            "their spelling in missing"
            for name, (count, row) in found.items()
        )
        raise Refused(told or str(error)) from error


def _tally(answers: pl.DataFrame) -> dict[Any, float]:
    """How many rows, how many of each answer, or, of numbers, their sum."""
    predicted = answers["prediction"]
    if predicted.dtype.is_float() and answers.columns == ["prediction"]:
        return {"rows": len(answers), "sum": float(predicted.cast(pl.Float64).sum())}
    return {"rows": len(answers)} | {("is", str(label)): count for label, count in predicted.value_counts().iter_rows()}


def _summed(tally: Counter[Any], asked: str | None) -> tuple[str, dict[str, float]]:
    """What there is to say of all answers: the mean of numbers, or the share of what is `asked`, else the commonest."""
    if "sum" in tally:
        mean = tally["sum"] / tally["rows"]
        return f"mean {mean:,.6g}", {"mean_prediction": mean}
    counts = Counter({key[1]: count for key, count in tally.items() if key != "rows"})
    label = "True" if asked == "anomalies" else asked or counts.most_common(1)[0][0]
    share = counts[label] / tally["rows"]
    return f"{100 * share:.1f} % {asked or label}", {"share": share}


def _name(stated: str) -> str:
    """An input as it is called in a sentence: its last part, or the variable that holds its address."""
    return stated if "${" in stated else Path(stated.partition("?")[0]).name
