"""Columns as counts: what is kept of a model's training rows, and the same counted of other rows.

A reference.json lies with each model, so a change here trains models anew; what is tested of the counts is in drift.py.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

QUANTILES = 100  # of a number: at so many values, at most, distributions are compared
BUCKETS = 32  # of words


def summary(frame: pd.DataFrame, kinds: dict[str, str], *, sensitive: Collection[str] = ()) -> dict[str, Any]:
    """The counts of the columns of `frame` (n, d), as JSON: {"rows": 262, "columns": {"island": {"kind": "category",
    "missing": 0, "views": {"values": {"at": ["Biscoe", "Dream"], "ordered": false, "counts": [160, 102], ...}}}}}.

    Numbers, dates and lengths of texts are counted between their quantiles, other values one by one, and texts by their
    longest word's hash. Of `sensitive` columns nothing is kept but how many values are missing.
    """
    columns = {}
    for name, kind in kinds.items():
        seen = {} if name in sensitive else _seen(frame[name], kind)
        kept = {what: _whole(values, ordered=what in _ordered(kind)) for what, values in seen.items()}
        columns[name] = {"kind": kind, "missing": int(frame[name].isna().sum()), "views": kept}
    return {"rows": len(frame), "columns": columns}


def answer_kinds(answers: pd.DataFrame) -> dict[str, str]:
    """The columns of a model's `answers`, see predictions.answers, that tell whether they have changed; their kinds."""
    telling = [name for name in ("probability", "score") if name in answers]
    if telling:
        return dict.fromkeys(telling, "number")
    return {"prediction": "number" if answers["prediction"].dtype.kind == "f" else "category"}


def counted(frame: pd.DataFrame, like: dict[str, Any]) -> dict[str, Any]:
    """The counts of other rows, between the same values and of the same levels as in the summary `like`."""
    columns = {}
    for name, kept in like["columns"].items():
        seen = _seen(frame[name], kept["kind"]) if kept["views"] else {}
        views = {what: _counts(values, kept["views"][what]) for what, values in seen.items()}
        columns[name] = {"kind": kept["kind"], "missing": int(frame[name].isna().sum()), "views": views}
    return {"rows": len(frame), "columns": columns}


def added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The counts of the rows of both."""
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
    """The views of a column of this kind that are numbers."""
    return ("values",) if kind in ("number", "date") else ("length",)


def _seen(values: pd.Series, kind: str) -> dict[str, np.ndarray]:
    """The values (n,) that are counted of a column, by view: {"length": lengths, "words": hashes of words} of texts."""
    known = values.dropna()
    if kind == "number":
        return {"values": known.to_numpy("float64")}
    if kind == "date":
        return {"values": known.astype("datetime64[us]").astype("int64").to_numpy("float64")}
    texts = known.astype(str)
    if kind != "text":
        return {"values": texts.to_numpy(object)}
    longest = [max(text.split(), key=len, default="") for text in texts]
    buckets = np.array([f"{zlib.crc32(word.lower().encode()) % BUCKETS}" for word in longest], dtype=object)
    return {"length": texts.str.len().to_numpy("float64"), "words": buckets}


def _whole(values: np.ndarray, *, ordered: bool) -> dict[str, Any]:
    """A view of the rows that a model is trained on, with the values between which, or of which, others are counted."""
    if ordered:
        shares = np.linspace(0, 1, QUANTILES + 1)
        at = np.unique(np.quantile(values, shares, method="inverted_cdf")).tolist() if len(values) else []
    else:
        at = sorted(set(values))
    view = {"at": at, "ordered": ordered}
    return view | _counts(values, view)


def _counts(values: np.ndarray, view: dict[str, Any]) -> dict[str, Any]:
    """How many of `values` are up to each of the numbers of `view`, and beyond; or how many each known level has, and
    each new one."""
    if view["ordered"]:
        places = np.searchsorted(view["at"], values, side="left")
        counts = np.bincount(places, minlength=len(view["at"]) + 1).tolist()
        return {"counts": counts, "sum": float(values.sum()), "new": {}}
    levels = Counter(values.tolist())
    return {"counts": [levels.pop(level, 0) for level in view["at"]], "sum": 0.0, "new": dict(levels)}
