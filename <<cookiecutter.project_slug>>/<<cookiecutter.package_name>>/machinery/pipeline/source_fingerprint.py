"""What the files hold that a source names, as one hash; or the version of a table that remembers its versions."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.targets import resolved

NO_PATHS = ("_target_", "query", "key", "columns", "new_columns", "sheet_name", "separator", "encoding")


def fingerprint(source: dict[str, Any], *, digest: Callable[[Path], str]) -> str | None:
    """A hash of the contents of the files that `source` names, by the `digest` of each; or its version.

    None where what it reads cannot be known beforehand.
    """
    if source.get("_target_", "").endswith(".sources.bundled"):
        return ""  # the lock's scikit-learn decides what is in it
    if source.get("_target_", "").endswith(".sources.dvc"):
        return None  # the path is one of the repository at a revision
    if kept := version(source):
        return kept
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


def version(source: dict[str, Any]) -> str | None:
    """What a source reads whose table has versions: "version=3 of 980d76b4-...". None for others, and where that
    cannot be told: reading it says why."""
    target, where = source.get("_target_", ""), os.path.expanduser(str(source.get("source", "")))
    with suppress(Exception):  # of libraries that are not there, of a server that does not answer
        if target in ("polars.scan_delta", "polars.read_delta"):
            from deltalake import DeltaTable

            delta = DeltaTable(where, storage_options=source.get("storage_options"))
            if source.get("version") is not None:
                delta.load_as_version(source["version"])
            return f"version={delta.version()} of {delta.metadata().id}"
        if target.endswith(".spark.readers.table") and source.get("version"):
            return f"version={source['version']} of {source['name']}"
        if target.endswith(".data.readers.iceberg"):
            about = resolved(f"{target}_table")(where, source.get("catalog")).metadata
            return f"snapshot_id={source.get('snapshot_id') or about.current_snapshot_id} of {about.table_uuid}"
    return None


def pinned(source: dict[str, Any], contents: str | None) -> dict[str, Any]:
    """`source` so that it reads the version that `contents`, of `fingerprint`, names: with version=3."""
    found = re.match(r"(version|snapshot_id)=(\d+) of ", contents or "")
    return source | ({found[1]: int(found[2])} if found else {})
