"""What a model was asked and answered: a journal of each process, and Parquet files made of it, by the hour.

A row is in the journal before its answer goes out, so a killed process loses none that was answered: whoever runs next
makes files of the journals that it left. Files appear whole, and are never changed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

_LOGGER = logging.getLogger("uvicorn.error")
MOST = 8_000_000  # bytes of a journal, so that no file takes long to make
TURN = 30.0  # seconds at most between two looks at what is to be done


Journal = tuple[Path, int]  # a hidden file of a JSON object for each request, open and locked by who writes it


@dataclass
class AnswerLog:
    """Rows and answers in `folder`. Nothing that happens here keeps an answer back."""

    folder: Path
    kinds: dict[str, str]  # the columns that are kept, {"bill_length_mm": "number"}; of one that identifies a row ""
    about: dict[str, str]  # what each row carries beside, {"model": "penguins", "version": "3"}
    seconds: int  # a Parquet file is made after so many, by the clock
    megabytes: float  # at most in the folder: the oldest files go first
    answers: bool = True  # are kept too

    def __post_init__(self) -> None:
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._journal: Journal | None = None
        self._ended: list[Journal] = []
        self._end = 0.0  # of the journal's hour
        self._lost = 0  # rows, since the journal could not be written
        self._unmade = self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="answer log")
        self._worker.start()

    def add(self, rows: pd.DataFrame, answers: list[dict[str, Any]], *, request_id: str, seconds: float) -> None:
        """Writes the `answers` to `rows` down, or counts how many could not be."""
        about = {"time": datetime.now(UTC).isoformat(), "request": request_id, "latency_ms": 1e3 * seconds} | self.about
        try:
            columns = {name: rows[name].tolist() for name in self.kinds if name in rows}
            facts = {"log": about, "rows": columns, "answers": answers if self.answers else [{}] * len(rows)}
            self._append(json.dumps(facts, default=str).encode() + b"\n")
        except Exception as error:  # whatever it is, the answer goes out
            if not self._lost:
                _LOGGER.warning("answers are not logged (%s): requests are answered all the same", error)
            self._lost += len(rows)
            return
        if self._lost:
            _LOGGER.warning("answers are logged again: %s rows were not", f"{self._lost:,}")
            self._lost = 0

    def close(self) -> None:
        """Makes files of all that was written down."""
        self._closed = True
        self._wake.set()
        self._worker.join()
        self._turn()

    def _append(self, line: bytes) -> None:
        with self._lock:
            self._end_journal(len(line))
            _, descriptor = self._journal = self._journal or self._begun()
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, size)
                raise OSError("only a part of it could be written")

    def _end_journal(self, more: int = 0) -> None:
        """Ends the journal where its hour is over, or where it cannot take as many bytes `more`."""
        is_over = self._closed or time.time() >= self._end
        if self._journal and (is_over or self._journal[0].stat().st_size + more > MOST):
            self._ended.append(self._journal)
            self._journal = None
            self._wake.set()

    def _begun(self) -> Journal:
        """A journal of this process, called after its hour."""
        began = time.time() // self.seconds * self.seconds
        self._end, hour = began + self.seconds, f"{datetime.fromtimestamp(began, UTC):%Y-%m-%dT%H-%M-%S}"
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = self.folder / f".{hour}-{uuid.uuid4().hex[:12]}.jsonl"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o640)
            if _locked(descriptor):  # or another process took it for one that was left
                return path, descriptor

    def _work(self) -> None:
        while not self._closed:
            self._turn()
            self._wake.wait(min(TURN, self.seconds))
            self._wake.clear()

    def _turn(self) -> None:
        """Makes files of journals that have ended, and of those that killed processes left; deletes the oldest."""
        with self._lock:
            self._end_journal()
            ended, self._ended = self._ended, []
        try:
            while ended or (ended := list(self._left())):
                self._publish(*ended[0])
                ended.pop(0)
            self._delete_oldest()
            self._unmade = False
        except Exception as error:  # on a full disk, say: the journals stay
            if not self._unmade:
                _LOGGER.warning("no file is made of the log of answers (%s): it is tried again", error)
            self._unmade = True
        with self._lock:
            self._ended += ended

    def _left(self) -> Iterator[Journal]:
        """The journals whose processes are no more."""
        for path in sorted(self.folder.glob(".*.jsonl")):
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR)
                if _locked(descriptor):
                    yield path, descriptor

    def _publish(self, path: Path, descriptor: int) -> None:
        """A Parquet file of the lines of a journal, which it replaces. The same journal makes the same file again."""
        table, draft = self._table(path.read_bytes()), path.with_suffix(".draft")
        if len(table):
            table.to_parquet(draft, engine="pyarrow", compression="zstd", index=False)
            draft.replace(self.folder / f"{path.stem[1:]}.parquet")
        path.unlink()
        os.close(descriptor)

    def _table(self, text: bytes) -> pd.DataFrame:
        """The lines of a journal, whole ones, as a table with a row for each row that was asked about."""
        records = []
        for line in text[: text.rfind(b"\n") + 1].splitlines():
            with suppress(ValueError):  # a damaged line costs no other one
                facts = json.loads(line)
                about = {f"log.{name}": value for name, value in facts["log"].items()}
                for at, answer in enumerate(facts["answers"]):
                    row = {name: values[at] for name, values in facts["rows"].items()}
                    answered = {f"answer.{name}": value for name, value in answer.items()}
                    records.append(about | {"log.row": at} | row | answered)
        table = pd.DataFrame(records)
        for name, kind in self.kinds.items():
            if name in table:
                table[name] = _typed(pd.Series([each.get(name) for each in records], dtype=object), kind)
        return table.assign(**{"log.time": _typed(table["log.time"], "date").dt.tz_localize("UTC")} if records else {})

    def _delete_oldest(self) -> None:
        with suppress(FileNotFoundError, ValueError):  # another process did it; there is none
            while sum(file.stat().st_size for file in self.folder.iterdir()) > 1e6 * self.megabytes:
                min(self.folder.glob("*.parquet")).unlink()


def _typed(values: pd.Series, kind: str) -> pd.Series:
    """A column of objects as what it holds; texts where the values do not go together."""
    if kind == "date":
        return pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce").dt.tz_localize(None)
    if kind == "number":
        return pd.to_numeric(values, errors="coerce").astype("float64")
    whole = [int(each) if isinstance(each, float) and each.is_integer() else each for each in values]  # beside nulls
    values = pd.Series(whole, dtype=object)
    kept = values.dropna()
    if {int} == (types := {*map(type, kept)}) and kept.abs().max() < 2**63:
        return values.astype("Int64")
    return values.where(values.isna(), values.map(str)) if len(types) > 1 or int in types else values


def _locked(descriptor: int) -> bool:
    """Whether the open file is this process's own now; if not, it is closed."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # it was not removed meanwhile
            return True
    os.close(descriptor)
    return False
