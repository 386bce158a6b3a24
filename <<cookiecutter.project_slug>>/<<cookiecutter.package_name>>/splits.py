"""Which rows are for training and which are kept from it."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import polars as pl

from .errors import Refused

SIDES = ("test", "validation", "train")


def shares(*, test: float, validation: float, train: float | None) -> dict[str, float]:
    """The share of each side; `train` defaults to the rest. Raises Refused unless they sum to 1."""
    given = {"test": test, "validation": validation, "train": 1 - test - validation if train is None else train}
    stated = ", ".join(
        f"split.{side}={share:g}" for side, share in given.items() if side != "train" or train is not None
    )
    total = round(test + validation + (train or 0), 9)
    if total != 1 and (train is not None or total > 1):
        raise Refused(f"{stated}: shares sum to {total:g}, not 1")
    if min(given.values()) < 0 or test <= 0 or given["train"] <= 0:
        raise Refused(
            f"{stated}: split.test and what is left for training are more than 0, split.validation at least 0"
        )
    return given


def assign(
    table: pl.LazyFrame, *, by: str, shares: dict[str, float], key: list[str], target: str, seed: int
) -> pl.LazyFrame:
    """`table` with the column `split`: "test", "validation" or "train".

    By `hash`, a row's side follows from its own key (no key: the whole row) and the seed alone: it stays as the table
    grows. By `stratified`, the rows of each class are put in the order of that hash and cut by the shares.
    """
    place = position(table, key=key, seed=seed)
    if by == "stratified":
        _refuse_numbers(table, target)
        place = place.with_columns((pl.col("split").rank("ordinal").over(target) - 0.5) / pl.len().over(target))
    elif by != "hash":
        raise Refused(f"split.by={by}: it is hash or stratified")
    first, second = shares["test"], shares["test"] + shares["validation"]
    side = (
        pl.when(pl.col("split") < first)
        .then(pl.lit("test"))
        .when(pl.col("split") < second)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return place.with_columns(split=side)


def record(columns: list[str], *, by: str, shares: dict[str, float], key: list[str], target: str, seed: int) -> dict:
    """What a later run needs to tell which rows of a table with these `columns` a model was trained on."""
    known = {"by": by, "shares": shares, "key": key, "target": target, "seed": seed}
    return known | {"columns": "" if key else _mark(columns)}


def knows(record: dict, columns: list[str]) -> bool:
    """Whether `record` tells the sides of the rows of a table with these `columns`."""
    return bool(record["key"]) or record["columns"] == _mark(columns)


def position(table: pl.LazyFrame, *, key: list[str], seed: int) -> pl.LazyFrame:
    """`table` with the column `split`: a number in [0, 1) out of BLAKE2b over the seed and the row's key columns.

    polars' own hash changes between versions; this one must not, or rows would change side.
    """
    schema = table.collect_schema()
    columns = key or schema.names()
    salt = str(seed).encode()

    def hashed(batch: pl.DataFrame) -> pl.DataFrame:
        texts = batch.select(pl.concat_str([_canonical(batch[name]) for name in columns], separator="\x1f"))
        digests = b"".join(blake2b(text.encode(), digest_size=8, key=salt).digest() for text in texts.to_series())
        return batch.with_columns(split=pl.Series(np.frombuffer(digests, "<u8") / 2.0**64, dtype=pl.Float64))

    return table.map_batches(hashed, schema={**schema, "split": pl.Float64}, streamable=True)


def _mark(columns: list[str]) -> str:
    return blake2b("\x1f".join(columns).encode(), digest_size=16).hexdigest()


def _canonical(values: pl.Series) -> pl.Series:
    """One text per value, the same for 180 and 180.0, missing values marked; it does not rest on polars' formatting."""
    if values.dtype.is_float():
        bits = pl.Series(values.fill_null(0).to_numpy().astype("<f8").view("<i8")).cast(pl.String)
        whole = values.is_finite() & (values == values.floor()) & (values.abs() < 2.0**53)
        whole_text = values.set(~whole.fill_null(False), 0).cast(pl.Int64).cast(pl.String)
        texts = whole_text.zip_with(whole.fill_null(True), "f" + bits)
        texts = texts.set(values.is_null() | values.is_nan(), None)
    elif values.dtype.is_temporal():
        texts = values.to_physical().cast(pl.String)
    elif values.dtype.is_nested() or values.dtype == pl.Binary:
        texts = pl.Series([None if value is None else repr(value) for value in values.to_list()], dtype=pl.String)
    else:
        texts = values.cast(pl.String)
    return texts.fill_null("\x00")


def _refuse_numbers(table: pl.LazyFrame, target: str) -> None:
    different = table.select(pl.col(target).n_unique()).collect().item()
    if table.collect_schema()[target].is_numeric() and different > 100:
        raise Refused(
            f"split=stratified needs classes, and {target} holds {different} different numbers: use split=hash"
        )
