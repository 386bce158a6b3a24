"""Tables that are written part by part, each part a file of its own: a second attempt at one writes the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import polars as pl

GROUP = 100_000  # rows of a group: a set number, for a file must not depend on the machine
SCRATCH = ".work"  # beside what is written: what is gone afterwards
Add = Callable[["pl.DataFrame"], object]


def sunk(engine: Any, function: Callable[[Any], pl.LazyFrame], parts: list[pl.LazyFrame], folder: Path) -> None:
    """Streams what `function` makes of each of `parts` to `folder`."""
    folder.mkdir()
    list(engine.map(partial(_sink, function, folder), enumerate(parts)))


def added(
    engine: Any, function: Callable[..., Any], parts: list[Any], path: Path, about: dict[str, str], count: Callable
) -> list[Any]:
    """What `function(part, add)` gives for each of `parts`; the rows that it adds are at `path` then.

    In a Parquet file with `about` in its metadata, in a folder with one for each part, or in a CSV file. `count` is
    told how many rows were added, where this process adds them.
    """
    import polars as pl

    is_csv = path.suffix == ".csv"
    if len(parts) == 1:
        with (_csv if is_csv else _parquet)(path, about) as add:
            return [function(parts[0], lambda rows: [add(rows), count(len(rows))])]
    folder = (path.with_name("parts") if is_csv else path).absolute()
    folder.mkdir()
    given = list(engine.map(partial(_add, function, folder, about), enumerate(parts)))
    if is_csv:
        pl.scan_parquet(folder).sink_csv(path)
    return given


def _sink(function: Callable[[Any], pl.LazyFrame], folder: Path, numbered: tuple[int, pl.LazyFrame]) -> None:
    with _part(folder, numbered[0]) as draft:
        function(numbered[1]).sink_parquet(draft, row_group_size=GROUP)


def _add(function: Callable[..., Any], folder: Path, about: dict[str, str], numbered: tuple[int, pl.LazyFrame]) -> Any:
    with _part(folder, numbered[0]) as draft, _parquet(draft, about) as add:
        return function(numbered[1], add)


@contextmanager
def _part(folder: Path, number: int) -> Iterator[Path]:
    """A file to write to, which is that of the part `number` in `folder` after the block."""
    draft = folder.parent / SCRATCH / f"{number}-{uuid4()}"
    draft.parent.mkdir(exist_ok=True)
    yield draft
    os.replace(draft, folder / f"part-{number:06}.parquet")


@contextmanager
def _parquet(path: Path, about: dict[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """A function that adds rows to a Parquet file with `about` in its metadata."""
    from pyarrow.parquet import ParquetWriter

    with ExitStack() as stack:
        writers: list[ParquetWriter] = []

        def add(rows: pl.DataFrame) -> None:
            table = rows.to_arrow()
            if not writers:  # the first rows say what the columns are
                schema = table.schema.with_metadata(about)
                writers.append(stack.enter_context(ParquetWriter(path, schema, compression="zstd")))
            writers[0].write_table(table.cast(writers[0].schema))

        yield add


@contextmanager
def _csv(path: Path, about: dict[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """A function that adds rows to a CSV file."""
    with path.open("ab") as file:
        yield lambda rows: rows.write_csv(file, include_header=not file.tell())
