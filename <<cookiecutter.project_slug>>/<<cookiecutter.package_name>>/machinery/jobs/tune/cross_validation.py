"""What a candidate scores on rows that it was not fitted to: fold by fold, here or in processes beside this one."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...config.compose import bound
from ...data import frames as columns_of
from ...data import splits
from ...evaluation import estimators, scoring
from ...pipeline import seeds

if TYPE_CHECKING:
    from ...config.compose import Columns, Features, Split, Task

NUMBER = r"[\d.]+(e-?\d+)?"
Sections = tuple[dict[str, Any], "Features", "Task"]  # model, features and task: all that tells candidates apart


class Folds:
    """The training rows of the table that the stage `split` wrote, in `count` folds by the rule that it was cut by."""

    def __init__(self, table: Path, *, split: Split, columns: Columns, count: int, seed: int) -> None:
        self.rows = pl.scan_parquet(table).filter(split="train").drop("split").collect()
        self.columns, self.seed = columns, seed
        self.sides = splits.folds(self.rows, by=split.by, count=count, columns=columns, seed=seed, gap=split.gap)

    def score(self, fold: int, model: dict[str, Any], features: Features, task: Task) -> float:
        """The first of task.metrics, on the rows of `fold`, of the candidate fitted to the rows of its other side."""
        columns, (train, test) = self.columns, (self.rows[side] for side in self.sides[fold])
        test = test.filter(pl.col(str(columns.target)).is_not_null())  # anomalies are told for some rows only
        kinds = columns_of.kinds(
            train,
            target=columns.target,
            out=[*columns.key, *columns.group, *columns.drop],
            sensitive=columns.sensitive,
            max_categories=features.max_categories,
        )
        seeds.plant(self.seed)
        estimator = bound(model, name="model")()
        candidate = estimators.pipeline(
            estimator, kinds=kinds, seed=self.seed, transform=task.transform, **vars(features)
        )
        (frame, target), (asked, wanted) = (
            (columns_of.frame(rows, kinds), columns_of.target(rows, str(columns.target), kind=task.kind))
            for rows in (train, test)
        )
        estimators.fit(candidate, frame, target, kind=task.kind)
        if task.threshold is not None and re.fullmatch(NUMBER, task.threshold):  # a scorer wants validation rows
            yes = estimators.label(candidate.classes_, task.positive)
            candidate = estimators.decided(candidate, frame, target, threshold=float(task.threshold), positive=yes)
        answering, wanted = estimators.asked(candidate, wanted, positive=task.positive)
        [score] = scoring.scores(answering, asked, wanted, names=task.metrics[:1]).values()
        return score


@contextmanager
def worker_pool(make: Callable[[], Folds], *, jobs: int, cores: int) -> Iterator[Callable[..., Future[float]]]:
    """What scores `Folds.score`'s arguments: at once where `jobs` is 1, else in so many processes, which share `cores`.

    The processes end with the block, and with this process, whatever ends that.
    """
    if jobs == 1:
        score = make().score
        yield lambda *asked: _done(score, *asked)
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // jobs))  # of gradient boosting; read where a process starts
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare, initargs=(make,))

    def submit(*asked: Any) -> Future[float]:
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a process that it starts inherits:
        try:
            return pool.submit(_score, *asked)  # Ctrl-C is for this one alone
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    try:
        yield submit
    except BaseException:
        for worker in active_children():  # nobody waits for what they are at
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def _done(call: Callable[..., float], *asked: Any) -> Future[float]:
    future: Future[float] = Future()
    try:
        future.set_result(call(*asked))
    except Exception as error:
        future.set_exception(error)
    return future


_folds: Folds  # of a process that scores: what `_prepare` made


def _prepare(make: Callable[[], Folds]) -> None:
    """Begins a process that scores, which is of no use without its parent."""
    global _folds
    threading.Thread(target=_leave, daemon=True).start()
    _folds = make()


def _leave() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _score(*asked: Any) -> float:
    return _folds.score(*asked)
