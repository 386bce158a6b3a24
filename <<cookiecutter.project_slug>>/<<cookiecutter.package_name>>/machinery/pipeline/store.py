"""The files that stages write: outputs/<stage>/<key>/, each folder whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import written
from ..engines.local import LocalEngine
from ..errors import CANNOT_WRITE, ProjectError
from ..locks import is_locked, locked
from ..result import RECORD, StageResult

if TYPE_CHECKING:
    import polars as pl

    from .bucket import Bucket

WAY_OUT = "free it, or name another folder as platform.outputs=..."
WORK = "workspaces"
SETTLED = 50_000_000  # ns: a file written less than so long ago may be written again without a new time


class Store:
    """The outputs of the stages of one command, each in the folder of its key; of what a `bucket` has, a copy.

    `engine`: what maps a function over parts of a table, see engines.
    """

    def __init__(self, root: Path, bucket: Bucket | None = None, engine: Any = None) -> None:
        self.root, self.bucket, self.engine = root, bucket, engine or LocalEngine()
        self.keys: dict[str, str] = {}  # of the stages so far
        self.drafts: dict[str, Path] = {}  # where a stage writes while it runs

    def path(self, stage: str) -> Path:
        """The folder of `stage`'s output; while it runs, its draft."""
        return self.drafts.get(stage) or self._kept(stage)

    @property
    def model_stage(self) -> str:
        """The last stage so far that has left a model."""
        return next(stage for stage in reversed(self.keys) if (self.path(stage) / "model" / "MLmodel").is_file())

    @property
    def model(self) -> Path:
        """The folder of the newest model that a stage has left so far."""
        return self.path(self.model_stage) / "model"

    def file(self, stage: str) -> Path:
        """The Parquet file of the table that `stage` wrote, or a folder with one for each part."""
        return self.path(stage) / "table.parquet"

    def table(self, stage: str) -> pl.LazyFrame:
        """The table that `stage` wrote."""
        import polars as pl

        return pl.scan_parquet(self.file(stage))

    def parts(self, stage: str) -> list[pl.LazyFrame]:
        """The same in parts, for `engine.map`."""
        return self.engine.parts(self.file(stage).absolute())

    def save_parts(self, stage: str, function: Callable[[Any], pl.LazyFrame], parts: list[pl.LazyFrame]) -> str:
        """Streams what `function` makes of each of `parts` to `stage`'s folder; gives the digest of all of it."""
        if len(parts) == 1:
            return self.save_table(stage, function(parts[0]))
        written.sunk(self.engine, function, parts, folder := self.file(stage).absolute())
        return self.digest(folder)

    def save_table(self, stage: str, table: pl.LazyFrame) -> str:
        """Streams `table` to `stage`'s folder as Parquet; gives the digest of the file."""
        path = self.file(stage)
        try:
            table.sink_parquet(path, row_group_size=written.GROUP)
        except Exception as error:  # of reading as well as of writing, for it streams
            self._refuse_unwritable(error)
            raise
        return self.digest(path)

    def record(self, stage: str) -> dict[str, Any]:
        """What `commit` recorded of `stage`'s output.

        {"stage": "split", "key": "88ee...", "run": "1f3a...", "data": "penguins", "fingerprint_parts": {"seed": "42"},
        "outcome": {"summary": ..., "scores": ...}, "files": {"table.parquet": "9d0c..."}}
        """
        return json.loads((self._kept(stage) / RECORD).read_text(encoding="utf-8"))

    def records(self, stage: str) -> list[dict[str, Any]]:
        """The records of all outputs of `stage`, the newest first."""
        records = []
        for file in sorted(self.root.glob(f"{stage}/[!.]*/{RECORD}"), key=os.path.getmtime, reverse=True):
            with suppress(OSError, ValueError):
                records.append(json.loads(file.read_text(encoding="utf-8")))
        return [record for record in records if isinstance(record, dict)]

    def latest(self, stage: str) -> dict[str, Any]:
        """The record of the newest output of `stage`, of which `path` and `table` then speak."""
        [record, *_] = self.records(stage)
        self.keys[stage] = record["key"]
        return record

    def outcome(self, stage: str) -> StageResult:
        """The result of `stage`, without its figures, tables and texts, which are in files."""
        return StageResult(**self.record(stage)["outcome"])

    def why_unusable(self, stage: str) -> str | None:
        """Why `stage`'s output cannot be used again: "outputs/split/88ee/table.parquet is missing"; None where it can.

        It can where every file of it has the bytes that were written. What is not here is looked for in the bucket.
        """
        flaw = self._flaw(self._kept(stage))
        return None if flaw and self._fetch(stage) else flaw

    def _flaw(self, folder: Path) -> str | None:
        """Why what is in `folder` is no whole output; None where it is."""
        if not folder.exists():
            return "there is none"
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            StageResult(**record["outcome"]), record["run"]  # raise where something else stands there
            for name, value in record["files"].items():
                if not (folder / name).exists():
                    return f"{folder / name} is missing"
                if self.digest(folder / name) != value:
                    return f"{folder / name} is not as it was written"
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return f"{folder / RECORD} cannot be read"
        return None

    def _fetch(self, stage: str) -> bool:
        """Whether the bucket has a whole output of `stage`, which is then here too."""
        if not self.bucket:
            return False
        final = self._kept(stage)
        try:
            with _held(final.with_name(f".{final.name}.fetched")) as folder:
                if self._flaw(final):  # nor has another process fetched it in the meantime
                    if not self.bucket.fetch(f"{stage}/{final.name}", folder) or self._flaw(folder):
                        return False
                    self._keep(folder, final)
        except OSError as error:
            self._refuse_unwritable(error)
            raise
        return True

    def _keep(self, folder: Path, final: Path) -> None:
        """Gives `folder` the name `final`, in one step."""
        _discard(final)  # damaged, or made again by reuse=false
        try:
            os.rename(folder, final)
        except OSError:  # another process has just fetched the same
            if self._flaw(final):
                raise

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
            with locked(folder):
                folder.mkdir(exist_ok=True)
                yield folder
        except OSError as error:
            self._refuse_unwritable(error)
            raise

    def next_version(self, rows: Path, table: Path, about: dict[str, str]) -> None:
        """Makes `rows` the next version of the Delta table in a folder, whole or not at all; `about` in its history."""
        import polars as pl
        from deltalake import CommitProperties

        how = {"schema_mode": "overwrite", "commit_properties": CommitProperties(custom_metadata=about)}
        pl.scan_parquet(rows).sink_delta(table, mode="overwrite", delta_write_options=how)

    def output(
        self, path: Path, about: dict[str, str], function: Callable[..., Any], parts: list[Any], count: Callable
    ) -> list[Any]:
        """What `function(part, add)` gives for each of `parts`; the rows that it adds stand at `path` afterwards.

        Whole, or what was there stays: in a Parquet or CSV file, or in a folder with a Parquet file for each part.
        `about` goes into the Parquet file's metadata, or into a JSON file next to the CSV. One process at a time writes
        to a path; another waits here. `count` is told how many rows have been added.
        """
        try:
            with _held(path.with_name(f".{path.name}.draft")) as folder:
                draft = folder / path.name
                given = written.added(self.engine, function, parts, draft, about, count)
                if path.suffix == ".csv":
                    about = {**about, "digest": self.digest(draft)}
                    (folder / "about").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
                    os.replace(folder / "about", path.with_name(f"{path.name}.json"))  # first: no scores without it
                if path.is_dir() or (draft.is_dir() and path.exists()):  # one cannot take the other's place in one step
                    os.rename(path, folder / "before")
                os.replace(draft, path)
                return given
        except OSError as error:
            self._refuse_unwritable(error, path.parent, "free it, or name another folder as output=...")
            raise

    def replace(self, path: Path, text: str) -> None:
        """Writes `text` to the file `path`: the whole of it, or the old text stays."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def commit(self, stage: str, outcome: StageResult, **about: Any) -> bool:
        """Turns the draft of `stage`, with the files of `outcome` in it, into its output.

        `about`: what else is recorded, such as run="1f3a...". The record is written last, and the folder gets its name
        in one step: so an output is whole, or it is not there. False where another machine was first: its output is
        `stage`'s then.
        """
        folder = self.drafts[stage]
        shutil.rmtree(folder / written.SCRATCH, ignore_errors=True)
        write(folder, outcome)
        paths = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        files = {file.relative_to(folder).as_posix(): self.digest(file) for file in paths}
        plain = {field.name for field in fields(StageResult)} - {"figures", "tables", "texts", "code"}
        outcome_plain = {name: value for name, value in vars(outcome).items() if name in plain}
        record = {"stage": stage, "key": self.keys[stage], **about, "outcome": outcome_plain, "files": files}
        (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        final = self._kept(stage)
        first = True
        while self.bucket and not (first := self.bucket.send(f"{stage}/{final.name}", folder, files)):
            if self._fetch(stage):  # else it is damaged there, and sent again
                break
        if first:
            self._keep(folder, final)
        shutil.rmtree(self._workspace(stage), ignore_errors=True)
        return first

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, which are read again only where its size or its times have changed.

        Of a folder, a hash of those of its files.
        """
        if path.is_dir():
            lines = [f"{file.name} {self.digest(file)}" for file in sorted(path.iterdir())]
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
        state, name = path.stat(), os.path.abspath(path)
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        noted = self.notes.get("digests", {}).get(name)
        if isinstance(noted, list) and noted[:-1] == stamp:
            return noted[-1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - state.st_ctime_ns > SETTLED:
            self.notes.setdefault("digests", {})[name] = [*stamp, digest]
        return digest

    @cached_property
    def notes(self) -> dict[str, Any]:
        """Digests of files and answers of MLflow, kept from run to run to save time; they may be lost."""
        try:
            notes = json.loads((self.root / "notes.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) and all(isinstance(each, dict) for each in notes.values()) else {}

    def remember(self) -> None:
        """Writes the notes, where the folder can be written."""
        digests = {name: value for name, value in self.notes.get("digests", {}).items() if os.path.exists(name)}
        text, file = json.dumps({**self.notes, "digests": digests}), self.root / "notes.json"
        with suppress(OSError):
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                self.replace(file, text)

    def others(self, stages: Collection[str], keys: Collection[str]) -> tuple[list[Path], int]:
        """The outputs of `stages` for other keys than `keys`, with drafts that were left, and their bytes."""
        folders = [folder for stage in stages for folder in (self.root / stage).glob("*") if folder.is_dir()]
        others = [folder for folder in folders if folder.name not in keys and not is_locked(folder)]
        return others, sum(file.stat().st_size for folder in others for file in folder.rglob("*") if file.is_file())

    def delete(self, folders: list[Path]) -> None:
        """Removes `folders`, each in one step."""
        for folder in folders:
            _discard(folder)

    def _kept(self, stage: str) -> Path:
        return self.root / stage / self.keys[stage]

    def _refuse_unwritable(self, error: Exception, folder: Path | None = None, way_out: str = WAY_OUT) -> None:
        """Raises ProjectError where `error`, by its number or polars' text, says that nothing can be written."""
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else getattr(error, "errno", None)
        if code in CANNOT_WRITE:
            raise ProjectError(f"{folder or self.root} cannot be written ({os.strerror(code)}): {way_out}") from error


def write(folder: Path, outcome: StageResult) -> None:
    """Writes the figures, tables and texts of `outcome` to files in `folder`."""
    for name, figure in outcome.figures.items():
        path = folder / f"{name}.png"
        if isinstance(figure, bytes):
            path.write_bytes(figure)
        else:
            figure.savefig(path, dpi=150, metadata={"Software": None})
    for name, table in outcome.tables.items():
        table.write_csv(folder / f"{name}.csv")
    for name, text in outcome.texts.items():
        (folder / name).write_text(text, encoding="utf-8")


@contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """`folder`, empty and this process's own until the end of the block, when it is removed if it is still there."""
    with locked(folder):
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
        folder.mkdir()
        try:
            yield folder
        finally:
            _discard(folder)


def _discard(folder: Path) -> None:
    """Removes `folder`, in one step for other processes."""
    gone = folder.with_name(f".{folder.name.removeprefix('.')}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)
