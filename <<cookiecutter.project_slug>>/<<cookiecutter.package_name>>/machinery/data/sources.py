"""Where tables come from: what polars' own readers do not give."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Refused

if TYPE_CHECKING:
    import polars as pl

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")


class Unreadable(Refused):
    """A value is not of the type that it is read as."""


@contextmanager
def reading() -> Iterator[None]:
    """Turns what readers raise into Refused, a sentence each."""
    import polars as pl  # here, and not above: what a source holds is told without it

    try:
        yield
    except Refused:
        raise
    except FileNotFoundError as error:
        raise Refused(
            f"the source is not there: {_line(error)} (a relative path is looked for in the folder of the command, "
            "then in the project's)"
        ) from error
    except ImportError as error:
        raise Refused(f"the source needs another package (`uv add` it, then `make lock`): {_line(error)}") from error
    except pl.exceptions.InvalidOperationError as error:
        raise Unreadable(f"the source cannot be read: {_line(error)}") from error
    except Exception as error:  # of polars, of a database's driver, of the reader that somebody added
        raise Refused(f"the source cannot be read: {_line(error)}") from error


def bundled(name: str) -> pl.LazyFrame:
    """A table bundled with scikit-learn: its features and the column `target`.

    Source: https://scikit-learn.org/stable/datasets/toy_dataset.html
    """
    import polars as pl
    import sklearn.datasets

    if name not in BUNDLED:
        raise ValueError(f"scikit-learn bundles no table {name!r}; it has {', '.join(BUNDLED)}")
    return pl.from_pandas(getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame).lazy()


def fingerprint(source: dict[str, Any], *, digest: Callable[[Path], str]) -> str | None:
    """A hash of the contents of the files that `source` names, by the `digest` of each.

    None where what it reads cannot be known beforehand.
    """
    if source.get("_target_", "").endswith(".sources.bundled"):
        return ""  # the lock's scikit-learn decides what is in it
    if source.get("_target_", "").endswith(".sources.dvc"):
        return None  # the path is one of the repository at a revision
    texts = [text for value in source.values() for text in (value if isinstance(value, list) else [value])]
    paths = [Path(text).expanduser() for text in texts if isinstance(text, str) and text]
    files = [
        (path, file) for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()
    ]
    if not files or any(isinstance(text, str) and ("://" in text or "*" in text) for text in texts):
        return None
    # in a folder names count too: they may hold the value of a partition
    told = sorted(f"{file.relative_to(path)} {digest(file)}" for path, file in files)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def dvc(path: str, *, read: Callable[[BytesIO], Any], repo: str = ".", rev: str | None = None) -> Any:
    """What `read` makes of the file that DVC tracks as `path` in `repo` (a folder or a git address) at `rev`.

    Source: https://dvc.org/doc/api-reference
    """
    import dvc.api

    with dvc.api.open(path, repo=repo, rev=rev, mode="rb") as file:
        return read(BytesIO(file.read()))


def _line(error: Exception) -> str:
    """What an error says in one line, without the query and the addresses that libraries add to it."""
    return " ".join(re.split(r"\n\[SQL|\(Background on|Consider setting", str(error))[0].split())[:500]
