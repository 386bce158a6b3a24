"""What the files hold that a source names, as one hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NO_PATHS = ("_target_", "query", "key", "columns", "new_columns", "sheet_name", "separator", "encoding")


def fingerprint(source: dict[str, Any], *, digest: Callable[[Path], str]) -> str | None:
    """A hash of the contents of the files that `source` names, by the `digest` of each.

    None where what it reads cannot be known beforehand.
    """
    if source.get("_target_", "").endswith(".sources.bundled"):
        return ""  # the lock's scikit-learn decides what is in it
    if source.get("_target_", "").endswith(".sources.dvc"):
        return None  # the path is one of the repository at a revision
    values = [value for name, value in source.items() if name not in NO_PATHS]
    texts = [text for value in values for text in (value if isinstance(value, list) else [value])]
    texts = [os.path.expanduser(text) for text in texts if isinstance(text, str) and text]
    paths = [Path(text) for text in texts if os.path.exists(text)]  # False, where Path's raises: too long for a name
    files = [
        (path, file) for path in paths for file in (path.rglob("[!.]*") if path.is_dir() else [path]) if file.is_file()
    ]
    if not files or any("://" in text or ("*" in text and not os.path.exists(text)) for text in texts):
        return None
    # in a folder names count too: they may hold the value of a partition
    lines = sorted(f"{file.relative_to(path)} {digest(file)}" for path, file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
