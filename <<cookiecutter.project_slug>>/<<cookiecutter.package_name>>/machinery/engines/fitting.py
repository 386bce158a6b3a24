"""Which rows a model is fitted to: all, or, where there are more than engine.fit_rows, some of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import polars as pl

if TYPE_CHECKING:
    from ..config.schema import Fitting, Roles
    from ..pipeline.store import Store


class FittingRows(NamedTuple):
    sides: Any  # of the split: what is fitted here has these
    rows: int  # training rows that the model is fitted to in the end
    limits: list[str]  # what is to be known of that, a sentence each
    boosted: Callable[..., AbstractContextManager[None]] | None = None  # fits its trees to all rows, see boosting


def fitting_rows(
    sides: Any,
    store: Store,
    table: str,
    few: Callable[..., pl.LazyFrame],
    model: Any,
    columns: Roles,
    settings: Fitting,
) -> FittingRows:
    """The rows that `model` is fitted to by the `settings`, out of `sides` of what the stage `table` left in `store`.

    `few`: splits.few, which takes the parts of that table.
    """
    rows, most = sides.rows["train"], settings.fit_rows
    if most is None or rows <= most:
        return FittingRows(sides, rows, [])
    parts, engine = store.parts(table), cast(Any, store.engine)
    train = few(engine, parts, rows=rows, most=most, columns=columns, side="train")
    some = type(sides)(pl.concat([train, sides.table.filter(pl.col("split") != "train")]))
    share = f"{some.rows['train']:,} of {rows:,} training rows, chosen by hash (engine.fit_rows)"
    if settings.fit_workers and type(model).__module__.startswith("xgboost."):
        sentence = f"What prepares its columns, such as means of the target and words, was learned from {share}."
        return FittingRows(some, rows, [sentence], partial(engine.boosted, parts))
    return FittingRows(some, some.rows["train"], [f"It was fitted to {share}."])
