"""The engine of a Spark cluster: what is done to a part of a table is a task of it.

A worker does with its part what one machine does with the whole, by the same functions and by polars: rows, their order
and every bit of what is computed stay the same. Spark itself reads what polars does not (readers.py), and checks
expectations. The driver holds counts, answers and samples, never the table.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ...config.validation import absence
from ...errors import ConfigError, ProjectError, one_line
from ..written import SCRATCH
from .readers import SESSIONS

if TYPE_CHECKING:
    import pyarrow as pa

    from ...config.schema import Engine
    from ...layout import Layout

ROWS = 1_000_000  # of a part, where engine.part_rows says nothing
SLICED = "polars.scan_parquet"  # what can be read from any row on
SQL = {"spark.sql.session.timeZone": "UTC", "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"}
QUIET = {  # of a session that is begun here
    "spark.ui.showConsoleProgress": "false",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a task is one core
    "spark.executorEnv.PYTHONWARNINGS": "ignore",
}


class SparkEngine:
    """`settings`: the section `engine` of the configuration. The session begins when there is work for it.

    Raises ConfigError where pyspark or Java is missing.
    """

    elsewhere = ("matplotlib",)  # expectations are checked by the process that has the session

    def __init__(self, settings: Engine, layout: Layout) -> None:
        if not find_spec("pyspark"):
            raise absence("engine=spark", "pyspark", extra="spark")
        remote = (settings.address or os.environ.get("SPARK_REMOTE", "")).startswith("sc://")
        there = map(os.environ.get, ("JAVA_HOME", "DATABRICKS_RUNTIME_VERSION"))
        if not (remote or shutil.which("java") or any(there)):
            raise ConfigError(
                "engine=spark needs Java, 17 or newer, to begin a session here: install it and set JAVA_HOME, or name "
                "a server of Spark Connect, engine.address=sc://host:15002"
            )
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
        self.settings, self.layout, self.sample_rows = settings, layout, settings.sample_rows

    @cached_property
    def session(self) -> Any:
        """Spark's session, whose workers have the code of this project."""
        from pyspark.sql import SparkSession

        address, builder = self.settings.address, SparkSession.builder.appName(self.layout.package)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        if address and address.startswith("sc://"):
            builder = builder.remote(address)
        else:
            builder = builder.master(address) if address else builder
            for name, value in (QUIET | _flat("spark", self.settings.options)).items():
                builder = builder.config(name, value)
        try:
            session = builder.getOrCreate()
            for name, value in SQL.items():
                with suppress(Exception):  # Databricks' serverless lets few be set
                    session.conf.set(name, value)
            self.folder = tempfile.TemporaryDirectory()  # workers may fetch the code as long as this process lives
            self._send(session, _zipped(self.layout.root / self.layout.package, Path(self.folder.name)))
        except Exception as error:
            raise ProjectError(f"engine.address={address}: no session of Spark: {one_line(error)[:500]}") from error
        return session

    def _send(self, session: Any, code: Path) -> None:
        if ".connect." in type(session).__module__:
            session.addArtifacts(str(code), pyfile=True)
            return
        session.sparkContext.setLogLevel("ERROR")
        session.sparkContext.addPyFile(str(code))

    def open(self, source: Callable[[], Any], beside: Path) -> list[pl.LazyFrame]:
        """The table that `source` gives; what Spark reads is written to the folder `beside` first.

        Workers read a Parquet table themselves; what else polars reads, this machine streams.
        """
        section = getattr(source, "args", [{}])[0]
        if ".engines.spark.readers." in (target := section.get("_target_", "")):
            SESSIONS.append(self.session)
            table, folder = source(), beside.absolute() / SCRATCH / "read"
            table.write.parquet(_address(folder))
            return self.parts(folder)
        table = source().lazy()
        if target != SLICED:
            return [table]
        where = section["source"]
        absolute = where if "://" in where else os.path.abspath(where)
        rest = {name: value for name, value in section.items() if name not in ("_target_", "source")}
        return self._cut(pl.scan_parquet(absolute, **rest)) or [table]

    def parts(self, file: Path) -> list[pl.LazyFrame]:
        """The table in a Parquet file, or in a folder of them."""
        files = sorted(file.glob("*.parquet")) if file.is_dir() else [file]
        parts = [part for each in files for part in self._cut(pl.scan_parquet(each, glob=False))]
        return parts or [pl.scan_parquet(file)]

    def _cut(self, table: pl.LazyFrame) -> list[pl.LazyFrame]:
        rows, most = table.select(pl.len()).collect().item(), self.settings.part_rows or ROWS
        return [table.slice(at, most) for at in range(0, rows, most)] if rows > most else [table] * bool(rows)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """What `function` gives for each of `items`, a task each; what it raises is raised here."""
        items = list(items)
        if len(items) < 2:  # it would take longer to ask
            yield from map(function, items)
            return

        def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return _answers(function, items, batches)

        tasks = self.session.range(0, len(items), 1, len(items))
        rows = tasks.mapInArrow(work, "at long, answer binary").collect()
        for row in sorted(rows, key=lambda row: row.at):
            answer = pickle.loads(row.answer)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def boosted(self, parts: list[pl.LazyFrame], model: Any, target: Any) -> Any:
        """A block in which a model of XGBoost is fitted to a sample, and after which to `parts`, see boosting."""
        from . import boosting

        return boosting.boosted(self.session, parts, model, target, workers=self.settings.fit_workers or 1)

    def aside(self, function: Callable[..., Any], **request: Any) -> Any:
        """What `function` gives for the `request`, with `read`, which makes a table of Spark of a place of files."""
        return function(**request, read=lambda path: self.session.read.parquet(_address(Path(path))))


def _answers(
    function: Callable[[Any], Any], items: list[Any], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """What a task does. An error is an answer, for it would come again; but one of the machine: another may do it."""
    import pyarrow as pa

    for batch in batches:
        for at in batch.column("id").to_pylist():
            try:
                answer = pickle.dumps(function(items[at]))
            except (OSError, MemoryError):
                raise
            except Exception as error:
                answer = _pickled(error)
            yield pa.RecordBatch.from_pydict({"at": pa.array([at], pa.int64()), "answer": pa.array([answer])})


def _pickled(error: Exception) -> bytes:
    try:
        pickle.loads(data := pickle.dumps(error))
        return data
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _flat(name: str, value: Any) -> dict[str, str]:
    """Nested settings as Spark has them: {"spark.executor.memory": "4g"}."""
    if not isinstance(value, dict):
        return {name: str(value).lower() if isinstance(value, bool) else str(value)}
    return {key: each for part, below in value.items() for key, each in _flat(f"{name}.{part}", below).items()}


def _zipped(package: Path, folder: Path) -> Path:
    """A zip of the package's code, called after what is in it: a server of Spark Connect may have another by now."""
    files = {file.relative_to(package.parent).as_posix(): file.read_bytes() for file in sorted(package.rglob("*.py"))}
    mark = hashlib.sha256(repr(files).encode()).hexdigest()[:12]
    path = folder / f"{package.name}-{mark}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _address(path: Path) -> str:
    """A path of a folder that all machines see, as Spark takes it: its own default may be another file system."""
    return str(path) if path.parts[1] in ("Volumes", "dbfs") else f"file://{path}"
