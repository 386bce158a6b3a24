"""What engine=spark costs and is worth beside one machine: ingest, split and predict of a table of 24 columns, on two
workers of this machine (one core and 2 GB each), for three sizes. Prints seconds, seconds per million rows, the peak of
the driver (Python and Java) and of the larger worker, and from how many rows on Spark is quicker, if it is.

make .venv/ready && .venv/bin/python benchmarks/engines.py [rows]      needs uv, Java, 0.3 GB of disk per million rows
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
from spark_cluster import SparkCluster, spark_cluster  # noqa: E402

PART = 500_000  # rows of a file
MAKE = """
import sys
import numpy as np, polars as pl
rows, part, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for number, first in enumerate(range(0, rows, part)):
    n, draw = min(part, rows - first), np.random.default_rng(number)
    floats = {f"x{i}": draw.normal(size=n).round(4) for i in range(12)}
    whole = {f"i{i}": draw.integers(0, 1000, n) for i in range(5)}
    texts = {f"s{i}": pl.Series(draw.integers(0, 50, n)).cast(pl.String) for i in range(5)}
    frame = pl.DataFrame({"id": range(first, first + n)} | floats | whole | texts)
    frame = frame.with_columns(y=pl.when(pl.col("x0") + pl.col("x1") > 0).then(pl.lit("yes")).otherwise(pl.lit("no")))
    frame.write_parquet(f"{folder}/part-{number:06}.parquet")
"""
DATA = """# @package _global_
defaults: [{{/task: binary}}]
source: {{_target_: polars.scan_parquet, source: {}}}
columns: {{target: y, key: [id]}}
task: {{positive: "yes"}}
"""
QUIET = ["tracking.sample_rows=0", "reuse=false"]


def resident(processes: Iterable[int]) -> int:
    """Bytes of memory of `processes` and of all that they have started; what several share counts once."""
    total, todo = 0, [*processes]
    while todo:
        place = Path("/proc", str(todo.pop()))
        try:
            total += 1024 * int(re.search(r"(?m)^Pss: +(\d+)", (place / "smaps_rollup").read_text())[1])
            todo += [int(each) for path in place.glob("task/*/children") for each in path.read_text().split()]
        except OSError:  # it has ended
            continue
    return total


class Peaks:
    """The most memory of the driver, and of the larger worker, while the block lasts."""

    def __init__(self, driver: int, cluster: SparkCluster | None) -> None:
        workers = [each.pid for name, each in cluster.running.items() if "worker" in name] if cluster else []
        self.groups = [[driver], *([each] for each in workers)]
        self.most, self.ended = [0] * len(self.groups), Event()
        self.thread = Thread(target=self._look)

    def _look(self) -> None:
        while not self.ended.wait(0.2):
            self.most = [max(most, resident(group)) for most, group in zip(self.most, self.groups, strict=True)]

    def __enter__(self) -> "Peaks":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()


class Bench:
    """A generated project, and the commands in it."""

    def __init__(self, project: Path, cluster: SparkCluster | None) -> None:
        self.project, self.cluster = project, cluster
        self.known = {
            name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        }
        self.known |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYTHONWARNINGS": "ignore"}

    def run(self, *words: str) -> tuple[float, Peaks]:
        """Seconds and peaks of a command of the project's Python."""
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as printed:
            where = {"cwd": self.project, "env": self.known, "stdout": printed, "stderr": printed}
            process = subprocess.Popen([self.project / ".venv/bin/python", *words], **where)
            with Peaks(process.pid, self.cluster) as peaks:
                process.wait()
            printed.seek(0)
            assert process.returncode == 0, printed.read()
        return time.perf_counter() - began, peaks

    def measure(self, engine: str, rows: int) -> float:
        """The seconds of all three commands for a table of `rows` rows; each is printed."""
        words, total, output = [f"engine={engine}"], 0.0, self.project / "scores.parquet"
        if self.cluster:
            words += [f"engine.address={self.cluster.master}", "engine.options.executor.memory=1g"]
            words += ["engine.options.driver.host=127.0.0.1", "engine.options.driver.memory=512m"]
            words += ['engine.options.driver.extraJavaOptions="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"']
            words += [f"engine.part_rows={PART}", "engine.sample_rows=100000"]
        for stage, *more in (
            ("ingest", f"data=large{rows}", *QUIET),
            ("split", f"data=large{rows}", "reuse=true", *QUIET[:1]),
            ("predict", "data=small", "version=1", f"input={self.project}/large{rows}", f"output={output}"),
        ):
            seconds, peaks = self.run("-m", "penguin_classifier", stage, *words, *more)
            total += seconds
            driver, *workers = (each / 1e9 for each in peaks.most)
            worker = f"   worker {max(workers):.2f} GB" if workers else ""
            print(
                f"{rows:>13,} rows   {engine:<5}   {stage:<7}   {seconds:8.1f} s   {seconds / rows * 1e6:7.2f} s per "
                f"million   driver {driver:.2f} GB{worker}",
                flush=True,
            )
        for path in (output, self.project / "outputs"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        return total


def verdict(sizes: list[int], took: dict[str, list[float]]) -> str:
    """From how many rows on Spark is quicker: by a straight line through the smallest and the largest of `sizes`."""
    slope = {name: (each[-1] - each[0]) / (sizes[-1] - sizes[0]) for name, each in took.items()}
    fixed = {name: each[0] - slope[name] * sizes[0] for name, each in took.items()}
    more, ratio = fixed["spark"] - fixed["local"], slope["spark"] / slope["local"]
    said = f"engine=spark takes {more:.0f} s more to begin, and {ratio:.2f}x for each row"
    if ratio >= 1:
        return f"{said}: on this machine it is never quicker"
    return f"{said}: it is quicker from {more / (slope['local'] - slope['spark']):,.0f} rows on"


def main(rows: int) -> None:
    """Runs all three commands on both engines for `rows` rows, a tenth and a hundredth of them."""
    sizes = [max(1000, rows // 100), max(2000, rows // 10), rows]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project = Path(scratch, "penguin-classifier")
        local = Bench(project, None)
        subprocess.run(["uv", "sync", "--quiet", "--extra", "spark"], cwd=project, env=local.known, check=True)
        for name, size in [("small", 20_000), *((f"large{size}", size) for size in sizes)]:
            (folder := project / name).mkdir()
            local.run("-c", MAKE, str(size), str(PART), str(folder))
            (project / f"conf/data/{name}.yaml").write_text(DATA.format(f"{folder}/*.parquet"))
        local.run("-m", "penguin_classifier", "register", "data=small", "model=boosting")
        took: dict[str, list[float]] = {"local": [], "spark": []}
        for size in sizes:
            took["local"].append(local.measure("local", size))
            with spark_cluster(project / ".venv") as cluster:
                took["spark"].append(Bench(project, cluster).measure("spark", size))
        print(verdict(sizes, took))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000)
