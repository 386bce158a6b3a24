"""Derived columns out of conf's features.derive: checked before a stage runs, fitted to the training rows."""

from __future__ import annotations

import difflib
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from ..config.binding import bound
from ..config.schema import Settings
from ..errors import sentences
from ..model.derived import PLAIN, Column, DeriveError, Resolve, first_line, values
from ..pipeline.code_fingerprint import CodeFingerprint

QUOTED = r"""'(''|[^'])*'|"(""|[^"])*\""""
CLOCK = r"\bnow\s*\(|\b(current_(date|time|timestamp)|localtime(stamp)?)\b"

SPLIT = "split"  # the column that says which rows train; a served row has none


def resolver(package: str) -> Resolve:
    """What gives the function behind a name: ".features.age_at" is one of `package`, "math.sqrt" of a library."""

    def resolve(name: str) -> Callable[..., Any]:
        module, _, function = name.rpartition(".")
        return getattr(import_module(module, package) if name.startswith(".") else import_module(module), function)

    return resolve


def code(columns: list[Column], root: Path, package: str) -> tuple[dict[str, str], list[str]]:
    """The files of `package` in `root` that the functions of `columns` reach, {"features.py": "import polars ..."}, and
    the libraries that these import: none for SQL alone."""
    named = [each.function.rpartition(".")[0][1:] for each in columns if each.function and each.function[0] == "."]
    if not named:
        return {}, []
    fingerprint = CodeFingerprint(root, package)
    modules = fingerprint.reachable(named)
    paths = [fingerprint.path(module) for module in modules]
    texts = {path: (root / package / path).read_text("utf-8") for path in paths}
    return texts, sorted(fingerprint.libraries(modules))


def check(config: Settings, *, package: str) -> None:
    """Raises ProjectError for a derived column of `config` that cannot be: before a stage runs.

    That a column is missing is known by then where polars scans the source, and else once it has been read.
    """
    derive = getattr(getattr(config, "features", None), "derive", {})
    if not derive:
        return
    resolve, roles, table = resolver(package), config.columns, None
    if str(config.source.get("_target_")).startswith("polars.scan_"):
        with suppress(Exception):  # the stage that reads the source says it in a sentence
            table = bound(config.source, name="source")().collect_schema().names()
    with sentences():
        columns = parse(derive, package=package, resolve=resolve)
        if table is not None:
            inputs(columns, table=table, target=roles.target, resolve=resolve, sensitive=roles.sensitive)


def parse(derive: Mapping[str, Any], *, package: str, resolve: Resolve) -> list[Column]:
    """The columns that conf's features.derive describes, in its order; null takes one out.

    Raises DeriveError for what does not parse, for what computes across rows or reads the clock, and for a function
    that cannot be imported or does not take its arguments.
    """
    return [_parsed(name, how, package, resolve) for name, how in derive.items() if how is not None]


def inputs(
    columns: list[Column],
    *,
    table: Collection[str],
    target: str | None,
    resolve: Resolve,
    sensitive: Collection[str] = (),
) -> dict[str, list[str]]:
    """The raw columns that each derived column needs, directly or through others: {"age": ["born", "observed"]}.

    `table` names the raw table's columns. Raises DeriveError for a column that it lacks, a name that is taken, a column
    that reads the target, and one that would keep values of `sensitive` columns in the model.
    """
    raw: dict[str, list[str]] = {}
    for at, column in enumerate(columns):
        there, later = [*(name for name in table if name != SPLIT), *raw], [each.name for each in columns[at:]]
        if column.name in there:
            raise column.error("the table has a column of this name; choose another name")
        reads = _reads(column, there)
        if missing := [name for name in reads if name not in there] or _missed(column, reads, resolve):
            raise column.error(_absent(missing[0], there, later))
        if not reads:
            raise column.error(
                "it reads no column; an SQL expression has their names bare or in double quotes, a function in its "
                "arguments"
            )
        raw[column.name] = list(dict.fromkeys(name for each in reads for name in raw.get(each, [each])))
        if target in raw[column.name]:
            raise column.error(f"it reads the target {target}, which no new row has; derive it from other columns")
        kept = set(sensitive).intersection(raw[column.name]) if _learner(column, resolve) else ()
        if kept:
            raise column.error(
                f"what it learns from {min(kept)} stays in the model, and columns.sensitive allows no values outside "
                "of the table; leave one of the two out"
            )
    return raw


def learn(columns: list[Column], rows: pl.DataFrame, *, resolve: Resolve) -> list[Column]:
    """`columns` fitted to the training `rows`, whose columns are `plain`: what the learned ones learn, and all types.

    Raises DeriveError for a column that cannot be computed, and for one whose values depend on other rows.
    """
    fitted = []
    for column in columns:
        column = replace(column, reads=_reads(column, rows.columns))
        column = replace(column, learned=_learned(column, rows, resolve))
        made = values(column, rows, resolve)
        if made.dtype == pl.Null:
            raise column.error(f"it has no value in any of the {len(rows):,} training rows; take it out")
        column = replace(column, kind=next(kind for kind, dtype in PLAIN.items() if dtype == made.dtype))
        _hold_to_single_rows(column, rows, made, resolve)
        rows = rows.with_columns(made)
        fitted.append(column)
    return fitted


def _parsed(name: str, how: Any, package: str, resolve: Resolve) -> Column:
    if name == SPLIT:
        raise Column(name).error("the column split says which rows train; choose another name")
    if isinstance(how, str):
        return _parsed_sql(Column(name, sql=how))
    if not isinstance(how, Mapping) or not isinstance(how.get("_target_"), str):
        raise Column(name).error("it is an SQL expression, or names a function as _target_ with its arguments")
    target = how["_target_"]
    function = target.removeprefix(package) if target.startswith(f"{package}.") else target
    column = Column(name, function=function, arguments={key: how[key] for key in how if key != "_target_"})
    takes: list[str] = []
    try:
        learner = _learner(column, resolve)
        signature = inspect.signature(resolve(function))
        takes = [key for key in list(signature.parameters)[1:] if key != "learned"]
        signature.bind(None, **column.arguments, **({"learned": None} if learner else {}))
        if learner:
            inspect.signature(learner).bind(None, **column.arguments)
    except (ImportError, AttributeError) as error:
        raise column.error(f"_target_={target} cannot be imported: {error}") from error
    except (TypeError, ValueError) as error:
        raise column.error(f"{target} cannot be called so: {error}; it takes {', '.join(takes)}") from error
    return column


def _parsed_sql(column: Column) -> Column:
    assert column.sql is not None
    try:
        expression = pl.sql_expr(column.sql)
    except pl.exceptions.PolarsError as error:
        raise column.error(f"{column.sql} is no SQL expression that polars knows: {first_line(error)}") from error
    if re.search(CLOCK, re.sub(QUOTED, "", column.sql), re.IGNORECASE):
        raise column.error(
            f"{column.sql} reads the clock, so that a row's value changes from day to day; write a date, or take a "
            "column that holds one"
        )
    if _computes_across_rows(expression):
        raise column.error(
            f"{column.sql} computes across rows, and a served row comes alone; write a function in features.py that "
            "learns from the training rows, such as group_mean"
        )
    return column


def _computes_across_rows(expression: pl.Expr) -> bool:
    """Whether a part of `expression` is an aggregate or a window."""
    try:
        separable = expression.meta.is_literal() or expression.meta.is_row_separable()
    except pl.exceptions.ColumnNotFoundError:  # a part whose meaning depends on types, such as a / b
        separable = True
    return not separable or any(_computes_across_rows(part) for part in expression.meta.pop())


def _reads(column: Column, there: Collection[str]) -> list[str]:
    """The columns that an SQL expression names; those that are `there` and that a function's arguments name."""
    if column.sql is not None:
        return list(dict.fromkeys(pl.sql_expr(column.sql).meta.root_names()))
    return [name for name in dict.fromkeys(_texts(column.arguments)) if name in there and name != SPLIT]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in [*value, *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _missed(column: Column, reads: list[str], resolve: Resolve) -> list[str]:
    """The column that a function looks for among its own, `reads`, and does not find; tried on a table of no rows."""
    if column.function is None:
        return []
    empty = pl.DataFrame(schema=dict.fromkeys(reads, pl.String))
    column = replace(column, reads=reads)
    try:
        values(replace(column, learned=_learned(column, empty, resolve)), empty, resolve)
    except DeriveError as error:  # any other may come from there being no rows, and no types
        named = re.search(r'"(.+?)"', str(error.__cause__))
        return [named[1]] if named and isinstance(error.__cause__, pl.exceptions.ColumnNotFoundError) else []
    return []


def as_sql(name: str) -> str:
    """`name` as an SQL expression takes it: of other signs than letters, digits and _ in double quotes."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'


def _absent(name: str, there: Collection[str], later: Collection[str]) -> str:
    if name in there:
        return f"it reads {name}, and is given only the columns that its arguments name; name {name} there"
    if name in later:
        return f"it reads {name}, which is derived after it; {name} has to stand above it"
    close = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
    return f"it reads {name}, which the table does not have{f'; did you mean {as_sql(close[0])}?' if close else ''}"


def _learner(column: Column, resolve: Resolve) -> Callable[..., Any] | None:
    """The function that learns from training rows what `column` takes as `learned`; None where it takes no such."""
    if column.function is None:
        return None
    parameter = inspect.signature(resolve(column.function)).parameters.get("learned")
    if parameter is None or parameter.kind is not parameter.KEYWORD_ONLY:
        return None
    module, _, name = column.function.rpartition(".")
    return resolve(f"{module}.learn_{name}")


def _learned(column: Column, rows: pl.DataFrame, resolve: Resolve) -> Any:
    """What `column` learns from `rows`, as JSON gives it back; None where it learns nothing."""
    learner = _learner(column, resolve)
    if learner is None:
        return None
    try:
        # In one piece: polars sums piece by piece, and how a table was read would decide the last bits.
        learned = learner(rows.select(column.reads).rechunk(), **column.arguments)
        kept = json.loads(json.dumps(learned, allow_nan=False))
    except Exception as error:
        raise column.error(f"{learner.__name__} failed: {type(error).__name__}: {first_line(error)}") from error
    if kept != learned or learned is None:  # numbers as keys become texts, a tuple becomes a list
        raise column.error(f"{learner.__name__} has to give what JSON keeps as it is: a dict of texts to numbers")
    return kept


def _hold_to_single_rows(column: Column, rows: pl.DataFrame, made: pl.Series, resolve: Resolve) -> None:
    """Raises DeriveError where some rows alone get other values than `made`, which they do within the table.

    Tried are single rows, one with each column missing among them, and at most half of the table together.
    """
    rows = rows.select(column.reads)
    missing = [each.is_null().arg_max() for each in rows if each.null_count()]
    single = [[at] for at in [*range(0, len(rows), max(1, len(rows) // 8)), *missing]]
    for some in [list(range(0, len(rows), max(2, len(rows) // 1000))), *single]:
        try:
            again = values(column, rows[some], resolve)
        except DeriveError as error:
            reason = str(error).partition(": ")[2]
            raise column.error(f"it cannot be computed for a few rows alone: {reason}") from error.__cause__
        if not _same(again, made[some]):
            raise column.error(
                "a served row would get another value than in training, because it depends on other rows or on "
                "chance; learn what it needs of the training rows, such as group_mean in features.py does"
            )


def _same(one: pl.Series, other: pl.Series) -> bool:
    if one.dtype == pl.Float64:
        return one.is_close(other, rel_tol=1e-9).fill_null(one.is_null() & other.is_null()).all()
    return one.eq_missing(other).all()
