"""A model of another registry or name in the place of one that is trained: its files, byte for byte."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import split_record
from ..errors import ProjectError
from ..mlflow import model_format
from ..mlflow.version_tags import SplitRecord
from ..result import StageResult
from . import estimators

if TYPE_CHECKING:
    from ..config.schema import Columns, Split
    from ..pipeline.store import Store

TRAINED = "trained.json"  # beside the model: how its table was split


def copied(store: Store, *, candidate: str, columns: Columns, split: Split, seed: int) -> StageResult:
    """The model in the folder `candidate`, as the stage's own.

    Raises ProjectError where the test rows of the table may be among those that it was trained on.
    """
    [stage] = store.drafts
    table = next(each for each in reversed(store.keys) if store.file(each).exists())
    rows, facts = store.table(table), store.outcome(table).facts
    names = rows.drop("split").collect_schema().names()
    here = split_record.record_split(names, split=split, columns=columns, seed=seed, cuts=facts["cuts"])
    _refuse_known_rows(SplitRecord(**json.loads(Path(candidate, TRAINED).read_text("utf-8"))), here)
    shutil.copytree(Path(candidate, "model"), store.path(stage) / "model", dirs_exist_ok=True)
    model = model_format.load(store.path(stage) / "model")
    first = model.frame(rows.head(10_000).collect())
    digest = estimators.digest(model.pipeline, first, data=facts["digest"])
    name = type(estimators.inner(model.pipeline[-1])).__name__
    return StageResult(f"{name} as it is, copied", model=digest, facts={"estimator": name})


def _refuse_known_rows(record: SplitRecord, here: SplitRecord) -> None:
    """Raises ProjectError unless the test rows of `here` are none of the rows that the model of `record` knows."""
    theirs, ours = asdict(record), asdict(here)
    for name in ours.keys() - {"cuts"}:
        if ours[name] != theirs[name]:
            raise ProjectError(
                f"the model was trained by another split, {name} {theirs[name]} and not {ours[name]}: which of these "
                "rows it knows cannot be told; take the split, seed and columns that it was trained by"
            )
    if any(new < old for new, old in zip(here.cuts, record.cuts, strict=True)):
        raise ProjectError("some test rows are older than the last that the model was trained on: take a later table")
