"""Which rows a model is fitted to: all, or, where there are more than engine.fit_rows, some of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from .places import few

if TYPE_CHECKING:
    from ..config.schema import Fitting, Roles
    from ..pipeline.store import Store


class FittingRows(NamedTuple):
    sides: Any  # of the split, with the training rows that are fitted to here
    rows: int  # training rows that the model is fitted to in the end
    limits: list[str]  # what is to be known of that, a sentence each
    boosted: Callable[..., AbstractContextManager[None]] | None = None  # fits its trees to all rows, see boosting


def fitting_rows(sides: Any, store: Store, stage: str, model: Any, columns: Roles, settings: Fitting) -> FittingRows:
    """The rows that `model` is fitted to by the `settings`, out of the `sides` of the table of `stage`."""
    rows, most, parts = sides.rows["train"], settings.fit_rows, store.parts(stage)
    if most is None or rows <= most:
        return FittingRows(sides, rows, [])
    engine: Any = store.engine  # of a cluster, where fit_workers says so
    train = few(engine, parts, rows=rows, most=most, columns=columns, side="train")
    some = type(sides)(pl.concat([train, sides.table.filter(pl.col("split") != "train")]))
    share = f"{some.rows['train']:,} of {rows:,} training rows, chosen by hash (engine.fit_rows)"
    if settings.fit_workers and type(model).__module__.startswith("xgboost."):
        sentence = f"What prepares its columns, such as means of the target and words, was learned from {share}."
        return FittingRows(some, rows, [sentence], partial(engine.boosted, parts))
    return FittingRows(some, some.rows["train"], [f"It was fitted to {share}."])
