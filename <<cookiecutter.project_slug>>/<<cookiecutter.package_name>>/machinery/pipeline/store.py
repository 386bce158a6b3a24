"""Every file that is written: outputs/<stage>/<key>/, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import ProjectError
from ..result import StageResult

if TYPE_CHECKING:
    import polars as pl

CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
WAY_OUT = "free it, or name another folder as platform.outputs=..."
RECORD = "outcome.json"  # written last: a folder that has it is whole
LOCK = ".lock"
WORK = "workspaces"
SETTLED = 50_000_000  # ns: a file written less than so long ago may be written again without a new time


class Store:
    """The outputs of one line of stages, each in the folder of its key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys: dict[str, str] = {}  # of the stages so far
        self.drafts: dict[str, Path] = {}  # where a stage writes while it runs

    def path(self, stage: str) -> Path:
        """The folder of `stage`'s output: its draft while it runs."""
        return self.drafts.get(stage) or self._kept(stage)

    @property
    def model_stage(self) -> str:
        """The last stage so far that has left a model."""
        return next(stage for stage in reversed(self.keys) if (self.path(stage) / "model" / "MLmodel").is_file())

    @property
    def model(self) -> Path:
        """The folder of the newest model that a stage has left so far."""
        return self.path(self.model_stage) / "model"

    def table(self, stage: str) -> pl.LazyFrame:
        """The table that `stage` wrote."""
        import polars as pl

        return pl.scan_parquet(self.path(stage) / "table.parquet")

    def save_table(self, stage: str, table: pl.LazyFrame) -> str:
        """The digest of `table`, once it is streamed to `stage`'s folder."""
        path = self.path(stage) / "table.parquet"
        try:
            table.sink_parquet(path, row_group_size=100_000)  # a set size: the file must not depend on the machine
        except Exception as error:  # of reading as well as of writing, for it streams
            self._refuse_unwritable(error)
            raise
        return self.digest(path)

    def record(self, stage: str) -> dict[str, Any]:
        """What `commit` wrote down for `stage`'s key: the run that made it, what decided it, its outcome, its files."""
        return json.loads((self._kept(stage) / RECORD).read_text(encoding="utf-8"))

    def records(self, stage: str) -> list[dict[str, Any]]:
        """What was written down of every output of `stage`, the newest first."""
        found = []
        for file in sorted(self.root.glob(f"{stage}/[!.]*/{RECORD}"), key=os.path.getmtime, reverse=True):
            with suppress(OSError, ValueError):
                found.append(json.loads(file.read_text(encoding="utf-8")))
        return found

    def latest(self, stage: str) -> dict[str, Any]:
        """What was written down of the newest output of `stage`, to which `path` and `table` then lead."""
        [record, *_] = self.records(stage)
        self.keys[stage] = record["key"]
        return record

    def outcome(self, stage: str) -> StageResult:
        """What `stage` gave back, figures and tables left in their files."""
        return StageResult(**self.record(stage)["outcome"])

    def why_unusable(self, stage: str) -> str | None:
        """What keeps `stage`'s output for its key from being used again; None: every file is as it was written."""
        folder = self._kept(stage)
        if not folder.exists():
            return "there is none"
        try:
            for name, value in self.record(stage)["files"].items():
                if not (folder / name).exists():
                    return f"{folder / name} is missing"
                if self.digest(folder / name) != value:
                    return f"{folder / name} is not as it was written"
        except (OSError, ValueError, KeyError, AttributeError):
            return f"{folder / RECORD} cannot be read"
        return None

    def workspace_of(self, stage: str) -> Path:
        """A folder for work of `stage` that is to go on where a kill left it; gone once the stage has ended well."""
        folder = self._workspace(stage)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _workspace(self, stage: str) -> Path:
        return self.root / WORK / f"{stage}-{self.keys[stage]}"

    @contextmanager
    def draft(self, stage: str) -> Iterator[Path]:
        """A folder for `stage` to write in, which becomes its output when `commit` is called, and vanishes otherwise.

        One process at a time has it; another that wants the same waits here.
        """
        final = self._kept(stage)
        try:
            with _held(final.with_name(f".{final.name}")) as folder:
                self.drafts[stage] = folder
                yield folder
        except OSError as error:
            self._refuse_unwritable(error)
            raise
        finally:
            self.drafts.pop(stage, None)
            with suppress(OSError):  # it is not empty: the next attempt goes on there
                self._workspace(stage).rmdir()

    @contextmanager
    def workspace(self, job: str, key: str) -> Iterator[Path]:
        """A folder that stays, for work of `job` that goes on where it was left; one process at a time has it."""
        folder = self.root / job / key
        try:
            lock = _locked(folder)
        except OSError as error:
            self._refuse_unwritable(error)
            raise
        with lock:
            yield folder

    def repair_journal(self, file: Path) -> Path:
        """`file` of lines, which nobody else writes, as Optuna's journal can go on with it after any kill.

        That is without a last line that is there in part, and without the lock of a process that is gone.
        """
        file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
        if file.exists():
            whole = file.read_bytes().rpartition(b"\n")
            os.truncate(file, len(whole[0]) + len(whole[1]))
        return file

    @contextmanager
    def output(self, path: Path, about: dict[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
        """What adds rows to a Parquet or CSV file, which stands at `path` in one step when the block has ended well.

        `about` goes into the Parquet file's metadata, or into a JSON file beside the CSV. One process at a time writes
        to a path; another waits here.
        """
        try:
            with _held(path.with_name(f".{path.name}.draft")) as folder:
                draft = folder / path.name
                with (_parquet if path.suffix == ".parquet" else _csv)(draft, about) as add:
                    yield add
                if path.suffix == ".csv":
                    told = {**about, "digest": self.digest(draft)}
                    (folder / "about").write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")
                    os.replace(folder / "about", path.with_name(f"{path.name}.json"))  # first: no scores without it
                os.replace(draft, path)
        except OSError as error:
            self._refuse_unwritable(error, path.parent, "free it, or name another folder as output=...")
            raise

    def replace(self, path: Path, text: str) -> None:
        """Writes `text` to `path`, a file that stays: the whole of it, or what was there stays."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def commit(self, stage: str, outcome: StageResult, **about: Any) -> None:
        """Turns the draft, with `outcome`'s files in it, into `stage`'s output; `about`: what else to write down."""
        folder = self.drafts[stage]
        write(folder, outcome)
        paths = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != LOCK]
        files = {str(file.relative_to(folder)): self.digest(file) for file in paths}
        plain = {field.name for field in fields(StageResult)} - {"figures", "tables", "texts", "code"}
        outcome_plain = {name: value for name, value in vars(outcome).items() if name in plain}
        record = {"stage": stage, "key": self.keys[stage], **about, "outcome": outcome_plain, "files": files}
        (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        final = self._kept(stage)
        _discard(final)  # damaged, or made again by reuse=false
        os.rename(folder, final)
        (final / LOCK).unlink()
        shutil.rmtree(self._workspace(stage), ignore_errors=True)

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, which are read again only where its size or its times have changed."""
        state, name = path.stat(), os.path.abspath(path)
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        known = self.notes.get("digests", {}).get(name)
        if known and known[:-1] == stamp:
            return known[-1]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - state.st_ctime_ns > SETTLED:
            self.notes.setdefault("digests", {})[name] = [*stamp, found]
        return found

    @cached_property
    def notes(self) -> dict[str, Any]:
        """What is remembered from run to run to save time, and may be lost: digests of files, answers of MLflow."""
        try:
            return json.loads((self.root / "notes.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def remember(self) -> None:
        """Writes the notes down, where that can be done."""
        digests = {name: value for name, value in self.notes.get("digests", {}).items() if os.path.exists(name)}
        text, file = json.dumps({**self.notes, "digests": digests}), self.root / "notes.json"
        with suppress(OSError):
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                self.replace(file, text)

    def others(self, stages: Collection[str], keys: Collection[str]) -> tuple[list[Path], int]:
        """The outputs of `stages` for other keys than `keys`, drafts that were left too, and their bytes in all."""
        found = [folder for stage in stages for folder in (self.root / stage).glob("*") if folder.name not in keys]
        found = [folder for folder in found if not _is_held(folder)]
        return found, sum(file.stat().st_size for folder in found for file in folder.rglob("*") if file.is_file())

    def delete(self, folders: list[Path]) -> None:
        """Removes `folders`, each in one step."""
        for folder in folders:
            _discard(folder)

    def _kept(self, stage: str) -> Path:
        return self.root / stage / self.keys[stage]

    def _refuse_unwritable(self, error: Exception, folder: Path | None = None, way_out: str = WAY_OUT) -> None:
        """Raises ProjectError where `error` says that nothing can be written; polars gives the number in its text
        only."""
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else getattr(error, "errno", None)
        if code in CANNOT_WRITE:
            raise ProjectError(f"{folder or self.root} cannot be written ({os.strerror(code)}): {way_out}") from error


def write(folder: Path, outcome: StageResult) -> None:
    """The figures, tables and texts of `outcome` as files in `folder`."""
    for name, figure in outcome.figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    for name, table in outcome.tables.items():
        table.write_csv(folder / f"{name}.csv")
    for name, text in outcome.texts.items():
        (folder / name).write_text(text, encoding="utf-8")


@contextmanager
def _parquet(path: Path, about: dict[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """What adds rows to a Parquet file with `about` in its metadata."""
    from pyarrow.parquet import ParquetWriter

    with ExitStack() as stack:
        writers: list[ParquetWriter] = []

        def add(rows: pl.DataFrame) -> None:
            table = rows.to_arrow()
            if not writers:  # the first rows say what the columns are
                schema = table.schema.with_metadata(about)
                writers.append(stack.enter_context(ParquetWriter(path, schema, compression="zstd")))
            writers[0].write_table(table.cast(writers[0].schema))

        yield add


@contextmanager
def _csv(path: Path, about: dict[str, str]) -> Iterator[Callable[[pl.DataFrame], None]]:
    """What adds rows to a CSV file."""
    with path.open("ab") as file:
        yield lambda rows: rows.write_csv(file, include_header=not file.tell())


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """`folder`, new and this process's own until the end of the block, when it is gone if it has not been moved away.

    The lock ends with the process, whatever ends that, and the next to come clears what was left.
    """
    lock = _locked(folder)
    try:
        for left in folder.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield folder
    finally:
        if _is(lock, folder / LOCK):
            _discard(folder)
        lock.close()


def _locked(folder: Path) -> IO[str]:
    """The lock of `folder`, which is made; waits for it as long as another process has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # its last owner was just removing it
            lock = (folder / LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(lock, folder / LOCK):
                return lock
            lock.close()


def _is(file: Any, path: Path) -> bool:
    """Whether the open `file` is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_held(folder: Path) -> bool:
    """Whether a process that is alive writes in `folder`."""
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _discard(folder: Path) -> None:
    """Removes `folder`: in one step for everybody else, who never see half of it."""
    gone = folder.with_name(f".{folder.name.removeprefix('.')}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
