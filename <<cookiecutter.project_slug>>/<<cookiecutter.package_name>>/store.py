"""Every file that is written: outputs/<stage>/<key>/, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Refused
from .outcomes import Outcome

if TYPE_CHECKING:
    import polars as pl

CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
WAY_OUT = "free it, or name another folder as platform.outputs=..."
RECORD = "outcome.json"  # written last: a folder that has it is whole


class Store:
    """The outputs of one line of stages, each in the folder of its key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys: dict[str, str] = {}  # of the stages so far
        self.drafts: dict[str, Path] = {}  # where a stage writes while it runs

    def path(self, stage: str) -> Path:
        """The folder of `stage`'s output: its draft while it runs."""
        return self.drafts.get(stage) or self.root / stage / self.keys[stage]

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
        return digest(path)

    def outcome(self, stage: str) -> Outcome:
        """What `stage` gave back, figures and tables left in their files."""
        return Outcome(**json.loads((self.path(stage) / RECORD).read_text(encoding="utf-8"))["outcome"])

    def files(self, stage: str) -> dict[str, str]:
        """The digest of each file of `stage`'s output."""
        return json.loads((self.path(stage) / RECORD).read_text(encoding="utf-8"))["files"]

    def intact(self, stage: str) -> bool:
        """Whether `stage`'s output for its key is there and every file of it as it was written."""
        try:
            return all(digest(self.path(stage) / name) == value for name, value in self.files(stage).items())
        except (OSError, ValueError, KeyError):
            return False

    @contextmanager
    def draft(self, stage: str) -> Iterator[Path]:
        """A folder for `stage` to write in, which becomes its output when `keep` is called, and vanishes otherwise."""
        folder = self.root / stage / f".{self.keys[stage]}.{os.getpid()}"
        try:
            folder.mkdir(parents=True)
            self.drafts[stage] = folder
            yield folder
        except OSError as error:
            self._refuse_unwritable(error)
            raise
        finally:
            self.drafts.pop(stage, None)
            shutil.rmtree(folder, ignore_errors=True)

    def replace(self, path: Path, text: str) -> None:
        """Writes `text` to `path`, a file that people edit: the whole of it, or what was there stays."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def _refuse_unwritable(self, error: Exception) -> None:
        """Raises Refused where `error` says that nothing can be written; polars gives the number in its text only."""
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else getattr(error, "errno", None)
        if code in CANNOT_WRITE:
            raise Refused(f"{self.root} cannot be written ({os.strerror(code)}): {WAY_OUT}") from error

    def keep(self, stage: str, outcome: Outcome) -> None:
        """Turns the draft, with `outcome`'s files in it, into `stage`'s output."""
        folder = self.drafts[stage]
        write(folder, outcome)
        files = {str(file.relative_to(folder)): digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
        plain = {field.name for field in fields(Outcome)} - {"figures", "tables", "texts"}
        outcome_plain = {name: value for name, value in vars(outcome).items() if name in plain}
        record = {"stage": stage, "key": self.keys[stage], "outcome": outcome_plain, "files": files}
        (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
        final = self.root / stage / self.keys[stage]
        shutil.rmtree(final, ignore_errors=True)
        os.replace(folder, final)


def write(folder: Path, outcome: Outcome) -> None:
    """The figures, tables and texts of `outcome` as files in `folder`."""
    for name, figure in outcome.figures.items():
        figure.savefig(folder / f"{name}.png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    for name, table in outcome.tables.items():
        table.write_csv(folder / f"{name}.csv")
    for name, text in outcome.texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
