"""Files and folders that one process at a time may write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the file or folder at `path` until the end of the block; another process that wants it waits.

    The lock is a file next to `path`, .name.lock. It ends with its process, whatever ends that.
    """
    from filelock import FileLock  # here: where nothing has to run, nothing is locked

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_lock(path)):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file; who waits for a removed one makes it anew
                _lock(path).unlink()


def is_locked(path: Path) -> bool:
    """Whether a process that is alive holds `path`."""
    from filelock import FileLock, Timeout

    if not _lock(path).exists():
        return False
    try:
        with FileLock(_lock(path), blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name.removeprefix('.')}.lock")
