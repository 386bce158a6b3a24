"""Rows told by a hash of what is in them: the same on every machine, in whatever part of a table they stand."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ..errors import ProjectError

if TYPE_CHECKING:
    from ..config.schema import Roles


def few(
    engine: Any, parts: list[pl.LazyFrame], *, rows: int, most: int | None, columns: Roles, side: str | None = None
) -> pl.LazyFrame:
    """The table of `parts`, or its `side`, of `rows` rows; where these are more than `most`, some of them, collected.

    They are chosen by a hash of the group, or of the row without its key: groups and twins come whole.
    """
    parts = [part.filter(split=side) for part in parts] if side else parts
    if most is None or rows <= most:
        return pl.concat(parts)
    names = [name for name in parts[0].collect_schema().names() if name != "split" and name not in columns.key]
    chosen = partial(_chosen, key=columns.group or names, share=most / rows)
    if not len(some := pl.concat(engine.map(chosen, parts))):
        raise ProjectError(f"{most:,} of {rows:,} rows, chosen by hash, is none: allow more of them")
    return some.lazy()


def _chosen(part: pl.LazyFrame, *, key: list[str], share: float) -> pl.DataFrame:
    at = place(part, key, seed="sample")  # another than that of the split
    return part.filter(at < share).collect(engine="streaming")


def place(table: pl.LazyFrame, key: list[str], seed: object) -> pl.Expr:
    """A number in [0, 1) for each row of `table`, out of BLAKE2b over the `seed` and the row's columns `key`, or all.

    polars' own hash changes between versions; this one must not, or rows would change side.
    """
    columns = key or table.collect_schema().names()
    keyed = blake2b(digest_size=8, key=str(seed).encode())

    def digest(text: bytes) -> bytes:
        state = keyed.copy()  # half the time of one that takes the key anew
        state.update(text)
        return state.digest()

    def hashed(keys: pl.Series) -> pl.Series:
        frame = keys.struct.unnest()
        texts = frame.select(pl.concat_str([_canonical(frame[name]) for name in columns], separator="\x1f"))
        digests = b"".join(map(digest, texts.to_series().cast(pl.Binary)))
        return pl.Series(np.frombuffer(digests, "<u8") / 2.0**64, dtype=pl.Float64)

    return pl.struct(columns).map_batches(hashed, return_dtype=pl.Float64, is_elementwise=True)


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
