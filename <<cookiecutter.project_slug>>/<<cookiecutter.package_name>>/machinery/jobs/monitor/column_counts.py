"""Columns as counts: those of a model's training rows, stored with it, and those of other rows to compare with them.

The stage train stores them, so a change here trains models anew; the tests of the counts are in drift.py.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

QUANTILES = 100  # distributions of numbers are compared at this many values at most
BUCKETS = 32  # that words are hashed to


def summary(frame: pd.DataFrame, kinds: dict[str, str], *, sensitive: Collection[str] = ()) -> dict[str, Any]:
    """The counts of the columns of `frame` (n, d), as JSON: {"rows": 262, "columns": {"island": {"kind": "category",
    "missing": 0, "views": {"values": {"at": ["Biscoe", "Dream"], "ordered": false, "counts": [160, 102], ...}}}}}.

    `kinds`: of each column, {"island": "category", "year": "number"}. A view is a way to look at a column: numbers,
    dates and lengths of texts are counted between their quantiles, texts by the hash of their longest word, and other
    values one by one. Of `sensitive` columns only the missing values are counted.
    """
    columns = {}
    for name, kind in kinds.items():
        by_view = {} if name in sensitive else _views(frame[name], kind)
        views = {what: _reference_view(values, ordered=what in _ordered(kind)) for what, values in by_view.items()}
        columns[name] = {"kind": kind, "missing": int(frame[name].isna().sum()), "views": views}
    return {"rows": len(frame), "columns": columns}


def answer_kinds(answers: pd.DataFrame) -> dict[str, str]:
    """The columns of a model's `answers` to compare, with their kinds: {"probability": "number"}.

    These are its probability or score; where it has neither, its prediction.
    """
    numbers = [name for name in ("probability", "score") if name in answers]
    if numbers:
        return dict.fromkeys(numbers, "number")
    return {"prediction": "number" if answers["prediction"].dtype.kind == "f" else "category"}


def count_like(reference: dict[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    """The counts of other rows, in the form of a summary: between the values, and of the levels, of `reference`."""
    columns = {}
    for name, kept in reference["columns"].items():
        by_view = _views(frame[name], kept["kind"]) if kept["views"] else {}
        views = {what: _counts(values, kept["views"][what]) for what, values in by_view.items()}
        columns[name] = {"kind": kept["kind"], "missing": int(frame[name].isna().sum()), "views": views}
    return {"rows": len(frame), "columns": columns}


def add(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The counts of all rows, from the counts of two parts of them."""
    columns = {}
    for name, left in one["columns"].items():
        right, views = other["columns"][name], {}
        for what, view in left["views"].items():
            more = right["views"][what]
            views[what] = {**view, "counts": [a + b for a, b in zip(view["counts"], more["counts"], strict=True)]}
            views[what] |= {"sum": view["sum"] + more["sum"], "new": dict(Counter(view["new"]) + Counter(more["new"]))}
        columns[name] = {**left, "missing": left["missing"] + right["missing"], "views": views}
    return {"rows": one["rows"] + other["rows"], "columns": columns}


def _ordered(kind: str) -> tuple[str, ...]:
    """The views of a column of this `kind` that are numbers; the others are levels."""
    return ("values",) if kind in ("number", "date") else ("length",)


def _views(values: pd.Series, kind: str) -> dict[str, np.ndarray]:
    """What is counted of a column, by view: {"values": (n,)}, or {"length": (n,), "words": (n,)} of texts."""
    present = values.dropna()
    if kind == "number":
        return {"values": present.to_numpy("float64")}
    if kind == "date":
        return {"values": present.astype("datetime64[us]").astype("int64").to_numpy("float64")}
    texts = present.astype(str)
    if kind != "text":
        return {"values": texts.to_numpy(object)}
    longest = [max(text.split(), key=len, default="") for text in texts]
    buckets = np.array([f"{zlib.crc32(word.lower().encode()) % BUCKETS}" for word in longest], dtype=object)
    return {"length": texts.str.len().to_numpy("float64"), "words": buckets}


def _reference_view(values: np.ndarray, *, ordered: bool) -> dict[str, Any]:
    """The counts of a view, and in `at` the numbers between which, or the levels by which, other rows are counted."""
    if ordered:
        values = np.sort(values)  # once: quantiles and places of sorted numbers are quick
        shares = np.linspace(0, 1, QUANTILES + 1)
        at = np.unique(np.quantile(values, shares, method="inverted_cdf")).tolist() if len(values) else []
    else:
        at = sorted(set(values))
    view = {"at": at, "ordered": ordered}
    return view | _counts(values, view)


def _counts(values: np.ndarray, view: dict[str, Any]) -> dict[str, Any]:
    """How many of `values` lie up to each number of `view`, and beyond the last; or how many have each of its levels.

    Levels that `view` does not have are counted under "new".
    """
    if view["ordered"]:
        places = np.searchsorted(view["at"], values, side="left")
        counts = np.bincount(places, minlength=len(view["at"]) + 1).tolist()
        return {"counts": counts, "sum": float(values.sum()), "new": {}}
    levels = Counter(values.tolist())
    return {"counts": [levels.pop(level, 0) for level in view["at"]], "sum": 0.0, "new": dict(levels)}
