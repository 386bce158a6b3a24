"""Outputs of stages at an address such as s3://bucket/outputs, for every machine, each whole or not there.

    <address>/<stage>/<key>/outcome.json              the record: it names the files and their digests; written last
    <address>/<stage>/<key>/<digest>/table.parquet    a file, under its own digest: no attempt disturbs another

No lock reaches from machine to machine. The record is written where there is none yet, which the store decides in one
step: who is first wins. What a killed process leaves is in no record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..config.validation import absence
from ..errors import ConfigError, ProjectError, Unavailable, one_line
from ..result import RECORD

SCHEMES = ("s3", "gs", "abfs", "abfss")
PATIENCE = {"max_retries": 4, "retry_timeout": timedelta(seconds=40)}  # no failure takes more than a minute
NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|FilesystemNotFound|(?i:bucket does not exist)")
NO_ROLE = re.compile(r"/latest/api/token|/metadata/identity|computeMetadata")  # where clouds tell it; asked last
_AT_A_TIME = 8  # files that travel


def local_folder(outputs: str) -> Path:
    """The folder of `platform.outputs`; of an address the one that keeps a copy: outputs/s3/bucket/outputs."""
    scheme, separator, place = outputs.partition("://")
    return Path("outputs", scheme, place) if separator else Path(outputs)


class Bucket:
    """The outputs at `address`. Errors are sentences: ConfigError, or Unavailable where it may answer later."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.absent: set[str] = set()  # what was not there when it was looked for
        if address.partition("://")[0] not in SCHEMES:
            starts = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise ConfigError(f"platform.outputs={address}: it takes a folder, or an address that starts with {starts}")
        if not find_spec("obstore"):
            raise absence(f"platform.outputs={address}", "obstore", extra="outputs")

    @cached_property
    def _store(self) -> Any:
        from obstore.exceptions import BaseError
        from obstore.store import from_url  # here: where all is up to date, it is not imported

        try:
            return from_url(self.address, retry_config=PATIENCE)
        except BaseError as error:
            raise ConfigError(f"platform.outputs={self.address}: {_first_line(error)}") from error

    def fetch(self, name: str, folder: Path) -> bool:
        """Whether there is an output `name`, "train/88ee..."; its files are in `folder` then, not yet compared with
        the record."""
        with self._sentences():
            try:
                text = self._read(f"{name}/{RECORD}")
            except FileNotFoundError as error:
                if NO_BUCKET.search(str(error)):
                    raise
                self.absent.add(name)
                return False
            self.absent.discard(name)
            with suppress(FileNotFoundError, ValueError, KeyError, AttributeError):  # of a record that is none
                files = json.loads(text)["files"]
                if all((folder / file).resolve().is_relative_to(folder.resolve()) for file in files):
                    _at_once(lambda each: self._load(f"{name}/{each[1]}/{each[0]}", folder / each[0]), files.items())
                    (folder / RECORD).write_bytes(text)
                    return True
        return False

    def send(self, name: str, folder: Path, files: dict[str, str]) -> bool:
        """Whether `folder`, with `files` by their digests and a record, is now the output `name`.

        False where it was not there when it was looked for, and is now: another machine was first.
        """
        from obstore import put
        from obstore.exceptions import AlreadyExistsError

        with self._sentences():
            _at_once(lambda each: put(self._store, f"{name}/{each[1]}/{each[0]}", folder / each[0]), files.items())
            try:
                mode = "create" if name in self.absent else "overwrite"  # it is damaged, or reuse=false
                put(self._store, f"{name}/{RECORD}", (folder / RECORD).read_bytes(), mode=mode)
            except AlreadyExistsError:
                return False
        return True

    def _read(self, path: str) -> bytes:
        from obstore import get

        return bytes(get(self._store, path).bytes())

    def _load(self, path: str, file: Path) -> None:
        from obstore import get

        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for chunk in get(self._store, path):
                stream.write(chunk)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turns what the store's library raises, pages of it, into a sentence."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            about = f"platform.outputs={self.address}"
            said = _first_line(error)
            if NO_BUCKET.search(str(error)):
                raise ConfigError(f"{about}: there is no such bucket") from error
            if NO_ROLE.search(said):
                raise ConfigError(f"{about}: the environment has no credentials, and this machine no role") from error
            if isinstance(error, PermissionDeniedError | UnauthenticatedError):
                raise ProjectError(f"{about}: these credentials may not read, write and list there: {said}") from error
            raise Unavailable(f"{about} cannot be reached: {said}") from error


def _first_line(error: Exception) -> str:
    return one_line(re.split(r"\n|: <", str(error))[0])[:500]  # without the server's page


def _at_once(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Calls `function` with each of `items`, some at a time; raises what one of them raises."""
    from concurrent.futures import ThreadPoolExecutor  # here: a folder needs none

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(function, items))
