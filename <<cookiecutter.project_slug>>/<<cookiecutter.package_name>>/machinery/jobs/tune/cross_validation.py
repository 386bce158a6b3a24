"""Cross-validation: the score of a candidate on one fold, computed in this process or in a pool of workers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...evaluation.folds import Folds

if TYPE_CHECKING:
    from ...config.schema import Task

Sections = tuple[dict[str, Any], Any, "Task"]  # model, features and task: what differs between candidates


def training_folds(table: Path, **how: Any) -> Folds:
    """The Folds of the training rows of a table with the column `split`."""
    return Folds(pl.scan_parquet(table).filter(split="train").drop("split").collect(), **how)


@contextmanager
def worker_pool(make: Callable[[], Folds], *, jobs: int, cores: int) -> Iterator[Callable[..., Future[Any]]]:
    """A function like `Folds.score` that gives a future: done at once for one job, else computed by `jobs` processes.

    Each process may use `cores` / `jobs` threads. They end with the block, and with this process, whatever ends it.
    """
    if jobs == 1:
        score = make().score
        yield lambda *arguments: _done(score, *arguments)
        return
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(
        max(1, cores // jobs)
    )  # for gradient boosting, which reads it when a process starts
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare, initargs=(make,))

    def submit(*arguments: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return pool.submit(_score, *arguments)
        # A process that this starts inherits the mask, so that only the parent gets Ctrl-C.
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.submit(_score, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    try:
        yield submit
    except BaseException:
        for worker in active_children():  # nobody waits for their results
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        os.environ.pop("OMP_NUM_THREADS") if threads is None else os.environ.update(OMP_NUM_THREADS=threads)


def _done(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(call(*arguments))
    except Exception as error:
        future.set_exception(error)
    return future


_folds: Folds  # of a worker: what `_prepare` made


def _prepare(make: Callable[[], Folds]) -> None:
    """Starts a worker, which ends with its parent."""
    global _folds
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _folds = make()


def _exit_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _score(*arguments: Any) -> Any:
    return _folds.score(*arguments)
