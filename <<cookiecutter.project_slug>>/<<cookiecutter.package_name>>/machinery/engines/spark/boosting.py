"""XGBoost fitted by tasks of a Spark cluster together: each has its share of the rows, and all build the same trees.

XGBoost's own sums over processes do it, and a barrier stage of Spark begins them at once: so it works with Spark
Connect, too, which XGBoost's estimators for Spark do not. What prepares the columns is fitted before, to a sample; a
task reads its parts itself, and no row is shuffled. What comes out is the model of one machine: no Spark answers by it.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import xgboost
from pyspark import BarrierTaskContext
from xgboost.tracker import RabitTracker

from ...errors import ProjectError, one_line
from ...model import loader

if TYPE_CHECKING:
    import pyarrow as pa

    Target = Callable[[pl.DataFrame], np.ndarray]
    Encode = Callable[[np.ndarray], np.ndarray]

BATCH = 100_000  # rows that are prepared at a time
ADAPTIVE = "spark.sql.adaptive.enabled"
HIST_ALONE = "model.tree_method={} is of one machine: take hist, or engine.fit_workers=null"


@contextmanager
def boosted(
    session: Any, parts: list[pl.LazyFrame], model: loader.Model, target: Target, *, workers: int
) -> Iterator[None]:
    """In the block `model`, whose last step is of XGBoost, is fitted to a sample; after it, its trees to all `parts`.

    The sample's trees are replaced, so that one is enough. `target` gives the target (n,) of rows; those of the side
    "train" count. Raises ProjectError for what cannot be fitted so.
    """
    stated = _parts_of(model.pipeline[-1])[0][0]
    rounds, method = stated.n_estimators, stated.tree_method
    if method not in (None, "auto", "hist"):
        raise ProjectError(HIST_ALONE.format(method))
    stated.set_params(n_estimators=1)
    yield
    estimators, encode = _parts_of(model.pipeline[-1])
    for each in estimators:
        each.set_params(n_estimators=rounds)
    fitted, as_stated = estimators[-1], estimators[-1].get_params()
    params = fitted.get_xgb_params()
    if (classes := getattr(fitted, "n_classes_", 2)) > 2:
        params["num_class"] = classes
    prepare = partial(_prepared, model=model, target=target, encode=encode)
    how = {"params": params, "rounds": fitted.get_num_boosting_rounds(), "prepare": prepare}
    fitted.load_model(bytearray(_together(session, parts, min(workers, len(parts)), how)))
    fitted.set_params(**as_stated)  # XGBoost writes into some what it has read


def _parts_of(last: Any) -> tuple[list[Any], Encode]:
    """The estimator of XGBoost in the step `last`, as stated and once more as fitted; and how the target is encoded."""
    if hasattr(last, "regressor"):  # of a transformed target
        fitted = [last.regressor_] if hasattr(last, "regressor_") else []
        return [last.regressor, *fitted], lambda y: last.transformer_.transform(y.reshape(-1, 1)).ravel()
    if hasattr(last, "estimators"):  # a vote of one, see estimators.labelled
        return [last.estimators[0][1], *getattr(last, "estimators_", [])], partial(_codes, last)
    return [last], np.asarray


def _codes(vote: Any, labels: np.ndarray) -> np.ndarray:
    """0, 1, ... for each of `labels` (n,)."""
    if unknown := set(labels) - set(vote.classes_):
        raise ProjectError(f"the class {min(unknown, key=str)} is in none of the engine.fit_rows rows: raise them")
    return vote.le_.transform(labels)


def _together(session: Any, parts: list[pl.LazyFrame], workers: int, how: dict[str, Any]) -> bytes:
    """The model, in XGBoost's own format, that `workers` tasks fit to `parts`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            for at in batch.column("id").to_pylist():
                made, wrong = _boost(parts[at::workers], at, workers, **how)
                yield pa.RecordBatch.from_pydict({"made": pa.array([made]), "wrong": pa.array([wrong])})

    tasks = session.range(0, workers, 1, workers).mapInArrow(work, "made binary, wrong string", barrier=True)
    # A barrier stage that a worker's end has broken is begun anew where a shuffle follows it, and else given up; cores
    # that are not there yet are waited for where the plan is not an adaptive one.
    adaptive = session.conf.get(ADAPTIVE)
    session.conf.set(ADAPTIVE, "false")
    try:
        rows = tasks.repartition(1).collect()
    finally:
        session.conf.set(ADAPTIVE, adaptive)
    if wrong := next((row.wrong for row in rows if row.wrong), None):
        raise ProjectError(f"XGBoost cannot be fitted by {workers} workers: {wrong}")
    return next(bytes(row.made) for row in rows if row.made)


def _boost(
    parts: list[pl.LazyFrame],
    at: int,
    workers: int,
    *,
    params: dict[str, Any],
    rounds: int,
    prepare: Callable[[pl.DataFrame], tuple[np.ndarray, np.ndarray]],
) -> tuple[bytes, str]:
    """What the task `at` does: the model, of the first task, or what is wrong with the rows of `parts`.

    What is wrong with a machine is raised: Spark begins anew.
    """
    context, wrong = BarrierTaskContext.get(), ""
    threads = context.cpus()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = _Rows(parts, prepare, Path(folder))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            wrong = one_line(error)
        message = {"wrong": wrong, "tracker": _tracker(context, workers) if at == 0 else None}
        messages = [json.loads(each) for each in context.allGather(json.dumps(message))]
        if any(each["wrong"] for each in messages):
            return b"", wrong
        with xgboost.collective.CommunicatorContext(**messages[0]["tracker"], dmlc_task_id=f"{at:06}"):
            bins = {"max_bin": params["max_bin"]} if params.get("max_bin") else {}
            matrix = xgboost.QuantileDMatrix(rows, missing=params.get("missing", np.nan), nthread=threads, **bins)
            made = xgboost.train(params | {"n_jobs": threads, "verbosity": 0}, matrix, rounds)
        return (bytes(made.save_raw("ubj")) if at == 0 else b""), ""


def _tracker(context: BarrierTaskContext, workers: int) -> dict[str, Any]:
    """Where the tasks find one another: at the first one."""
    address = socket.gethostbyname(context.getTaskInfos()[0].address.rpartition(":")[0])
    tracker = RabitTracker(workers, address, sortby="task")
    tracker.start()
    Thread(target=tracker.wait_for, daemon=True).start()
    return tracker.worker_args()


class _Rows(xgboost.DataIter):
    """The prepared rows of a task, which lie on its disk: XGBoost goes over them more than once, and keeps bins."""

    def __init__(self, parts: list[pl.LazyFrame], prepare: Callable[..., Any], folder: Path) -> None:
        super().__init__()
        self.files: list[Path] = []
        self.at = 0
        for part in parts:
            rows = part.filter(pl.col("split") == "train").collect(engine="streaming")
            for some in rows.iter_slices(BATCH):
                data, label = prepare(some)
                self.files.append(folder / f"{len(self.files)}.npz")
                np.savez(self.files[-1], data=data, label=label)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Gives the next batch to XGBoost; False where there is none."""
        if self.at == len(self.files):
            return False
        with np.load(self.files[self.at]) as arrays:
            input_data(data=arrays["data"], label=arrays["label"])
        self.at += 1
        return True

    def reset(self) -> None:
        """Begins anew."""
        self.at = 0


def _prepared(
    rows: pl.DataFrame, *, model: loader.Model, target: Target, encode: Encode
) -> tuple[np.ndarray, np.ndarray]:
    """`rows` as the last step of `model` takes them, (n, d) in single precision, as XGBoost has them, and (n,)."""
    with loader.steadily():
        values = model.pipeline[:-1].transform(model.frame(rows))
    return np.ascontiguousarray(values, "float32"), encode(target(rows))
