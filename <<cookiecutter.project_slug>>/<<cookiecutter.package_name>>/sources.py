"""Your readers of tables: what polars' own do not give. conf/data/ names one as `source._target_`."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import polars as pl

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")


def bundled(name: str) -> pl.LazyFrame:
    """A table bundled with scikit-learn: its features and the column `target`.

    Source: https://scikit-learn.org/stable/datasets/toy_dataset.html
    """
    import sklearn.datasets

    if name not in BUNDLED:
        raise ValueError(f"scikit-learn bundles no table {name!r}; it has {', '.join(BUNDLED)}")
    return pl.from_pandas(getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame).lazy()


def dvc(path: str, *, read: Callable[[BytesIO], Any], repo: str = ".", rev: str | None = None) -> Any:
    """What `read` makes of the file that DVC tracks as `path` in `repo` (a folder or a git address) at `rev`.

    Source: https://dvc.org/doc/api-reference
    """
    import dvc.api

    with dvc.api.open(path, repo=repo, rev=rev, mode="rb") as file:
        return read(BytesIO(file.read()))
