"""A model that workers answer by, too."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from ..mlflow import model_format


class SharedModel:
    """The model at `address`, loaded. Where it is pickled its files travel, and are loaded once by each process."""

    def __init__(self, address: str | Path, files: str = "") -> None:
        self.address, self.files, self.model = address, files, model_format.load(address, files=files)

    def __reduce__(self) -> tuple[Callable[[bytes], SharedModel], tuple[bytes]]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = model_format.download(self.address, Path(scratch), files=self.files)
            with ZipFile(packed := BytesIO(), "w") as archive:
                for file in sorted(each for each in folder.rglob("*") if each.is_file()):
                    archive.writestr(file.relative_to(folder).as_posix(), file.read_bytes())
        return _unpacked, (packed.getvalue(),)


@functools.lru_cache(2)
def _unpacked(files: bytes) -> SharedModel:
    model_format.trust(lambda _: True)  # the process that it comes from has looked at its types
    folder = tempfile.mkdtemp()  # for as long as the process lives: its code is imported from there
    ZipFile(BytesIO(files)).extractall(folder)
    return SharedModel(folder)
