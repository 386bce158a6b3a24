"""What a model was asked and answered: a journal of each process, and Parquet files made of it, by the hour.

A row is in the journal before its answer goes out, so a killed process loses none that was answered: whoever runs next
makes files of the journals that it left. Files appear whole, and are never changed.
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LOGGER = logging.getLogger("uvicorn.error")
JOURNALS = ".journals"  # in the folder
MOST = 8_000_000  # bytes of a journal, so that no file takes long to make
TURN = 30.0  # seconds at most between two looks at what is to be done


@dataclass
class Journal:
    """A file of one JSON object for each request, locked by the process that writes it."""

    path: Path
    descriptor: int
    size: int = 0
    end: float = math.inf  # when it becomes a Parquet file


class AnswerLog:
    """Rows and answers in `folder`, of at most `megabytes`: the oldest files go first.

    `kinds`: the columns that are kept, and what they hold, {"bill_length_mm": "number"}; of a column that identifies a
    row it is "". `about`: what each row carries beside, {"model": "penguins", "version": "3"}. A Parquet file is made
    after `seconds`, by the clock. Nothing that happens here keeps an answer back.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kinds: dict[str, str],
        about: dict[str, str],
        seconds: int,
        megabytes: float,
        answers: bool = True,
    ) -> None:
        self._folder, self._kinds, self._about = folder, kinds, about
        self._seconds, self._bytes, self._with_answers = seconds, megabytes * 1e6, answers
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._journal: Journal | None = None
        self._ended: list[Journal] = []
        self._lost = 0  # rows, since the journal could not be written
        self._unmade = False
        self._closed = False
        self._worker = threading.Thread(target=self._work, daemon=True, name="answer log")
        self._worker.start()

    def add(self, rows: pd.DataFrame, answers: list[dict[str, Any]], *, request_id: str, seconds: float) -> None:
        """Writes the `answers` to `rows` down, or counts how many could not be."""
        try:
            columns = {name: rows[name].tolist() for name in self._kinds if name in rows}
            answers = answers if self._with_answers else [{}] * len(rows)
            facts = {"id": request_id, "ms": 1e3 * seconds, "at": time.time(), "rows": columns, "answers": answers}
            self._append(json.dumps(facts, default=str).encode() + b"\n")
        except Exception as error:  # whatever it is, the answer goes out
            if not self._lost:
                _LOGGER.warning("answers are not logged (%s): requests are answered all the same", _reason(error))
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
            journal = self._journal
            if journal and (time.time() >= journal.end or journal.size + len(line) > MOST):
                self._ended.append(journal)
                self._journal = None
                self._wake.set()
            journal = self._journal = self._journal or self._begun()
            written = os.write(journal.descriptor, line)
            if written < len(line):
                os.ftruncate(journal.descriptor, journal.size)
                raise OSError("only a part of it could be written")
            journal.size += written

    def _begun(self) -> Journal:
        """A journal of this process, called after its hour."""
        began = time.time() // self._seconds * self._seconds
        (self._folder / JOURNALS).mkdir(parents=True, exist_ok=True)
        while True:
            name = f"{datetime.fromtimestamp(began, UTC):%Y-%m-%dT%H-%M-%S}-{uuid.uuid4().hex[:12]}.jsonl"
            path = self._folder / JOURNALS / name
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o640)
            if _locked(descriptor):  # or another process took it for one that was left
                return Journal(path, descriptor, end=began + self._seconds)

    def _work(self) -> None:
        while not self._closed:
            self._turn()
            self._wake.wait(min(TURN, self._seconds))
            self._wake.clear()

    def _turn(self) -> None:
        """Makes files of journals that have ended, and of those that killed processes left; deletes the oldest."""
        with self._lock:
            if self._journal and (self._closed or time.time() >= self._journal.end):
                self._ended.append(self._journal)
                self._journal = None
            ended, self._ended = self._ended, []
        try:
            while ended or (ended := list(self._left())):
                self._publish(ended[0])
                ended.pop(0)
            self._delete_oldest()
            self._unmade = False
        except Exception as error:  # on a full disk, say: the journals stay
            if not self._unmade:
                _LOGGER.warning("no file is made of the log of answers (%s): it is tried again", _reason(error))
            self._unmade = True
        with self._lock:
            self._ended += ended

    def _left(self) -> Iterator[Journal]:
        """The journals whose processes are no more."""
        for path in sorted((self._folder / JOURNALS).glob("*.jsonl")):
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR)
                if _locked(descriptor):
                    yield Journal(path, descriptor)

    def _publish(self, journal: Journal) -> None:
        """A Parquet file of the lines of a journal, which it replaces. The same journal makes the same file again."""
        from pyarrow.parquet import write_table

        table = self._table(journal.path.read_bytes())
        if len(table):
            draft = journal.path.with_suffix(".draft")
            write_table(table, draft, compression="zstd")
            draft.replace(self._folder / f"{journal.path.stem}.parquet")
        journal.path.unlink()
        os.close(journal.descriptor)

    def _table(self, text: bytes) -> pa.Table:
        """The lines of a journal, whole ones, as a table with a row for each row that was asked about."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {}
        length = 0
        for line in text[: text.rfind(b"\n") + 1].splitlines():
            with suppress(ValueError):  # a damaged line costs no other one
                facts, before = json.loads(line), length
                length += len(facts["answers"])
                for name, values in _columns(facts, self._about).items():
                    held = columns.setdefault(name, [])
                    held += [None] * (before - len(held)) + values
        arrays = {
            name: _array(values + [None] * (length - len(values)), self._kinds.get(name, ""))
            for name, values in columns.items()
        }
        times = {"log.time": pa.array([int(1e6 * at) for at in columns["log.time"]], pa.timestamp("us", "UTC"))}
        return pa.table(arrays | times if length else {})

    def _delete_oldest(self) -> None:
        files = sorted(self._folder.glob("*.parquet"), key=lambda file: file.name)
        sizes = {file: _size(file) for file in (*files, *(self._folder / JOURNALS).glob("*"))}
        total = sum(sizes.values())
        for file in files:
            if total <= self._bytes:
                return
            file.unlink(missing_ok=True)  # other processes do the same
            total -= sizes[file]


def _columns(facts: dict[str, Any], about: dict[str, str]) -> dict[str, list[Any]]:
    """The columns of one request."""
    answers, count = facts["answers"], len(facts["answers"])
    same = {"log.time": facts["at"], "log.request": facts["id"], "log.latency_ms": facts["ms"]}
    same |= {f"log.{name}": value for name, value in about.items()}
    columns = {name: [value] * count for name, value in same.items()} | {"log.row": list(range(count))}
    names = dict.fromkeys(name for answer in answers for name in answer)
    answered = {f"answer.{name}": [answer.get(name) for answer in answers] for name in names}
    return columns | facts["rows"] | answered


def _array(values: list[Any], kind: str) -> pa.Array:
    """A column of a table; one of values that do not go together is text."""
    import pyarrow as pa

    types = {"number": pa.float64(), "boolean": pa.bool_(), "text": pa.string()}
    try:
        if kind == "date":
            import pandas as pd

            return pa.array(
                pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601", utc=True).dt.tz_localize(None)
            )
        return pa.array(values, types.get(kind), from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError):
        return pa.array([None if value is None or value != value else str(value) for value in values], pa.string())


def _locked(descriptor: int) -> bool:
    """Whether the open file is this process's own now; if not, it is closed."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:  # it was not removed meanwhile
            return True
    os.close(descriptor)
    return False


def _size(file: Path) -> int:
    with suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
