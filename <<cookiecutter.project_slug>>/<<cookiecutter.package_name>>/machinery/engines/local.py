"""The engine of one machine: a table is one part, which polars streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import second_process
from ..errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from ..config.schema import Engine
    from ..layout import Layout


class LocalEngine:
    """Raises ConfigError for `settings` that are of a cluster."""

    elsewhere = ("great_expectations", "matplotlib")  # what the second process works with

    def __init__(self, settings: Engine | None = None, layout: Layout | None = None) -> None:
        if settings and (settings.address or settings.options or settings.part_rows or settings.fit_workers):
            raise ConfigError("engine.address, part_rows, fit_workers and options are of a cluster: take engine=spark")
        self.sample_rows = settings.sample_rows if settings else None

    def open(self, source: Callable[[], pl.LazyFrame | pl.DataFrame], beside: Path) -> list[pl.LazyFrame]:
        """The table that `source` gives; an engine may keep what it reads in the folder `beside`."""
        return [source().lazy()]

    def parts(self, file: Path) -> list[pl.LazyFrame]:
        """The table in a Parquet file, or in a folder of them."""
        import polars as pl

        return [pl.scan_parquet(file)]

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """What `function` gives for each of `items`."""
        return map(function, items)

    def aside(self, function: Callable[..., Any], **request: Any) -> Any:
        """What `function` gives for the `request`, in the second process."""
        return second_process.submit(function, **request).result()
