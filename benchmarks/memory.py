"""How much memory a large table takes on its way through ingest, validate and split, and scored by a model of its
first rows: peaks beside its size as Arrow.

make .venv/ready && .venv/bin/python benchmarks/memory.py [rows]      needs uv, some minutes, and 5 GB of disk
"""

import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAKE = """
import sys
import numpy as np, polars as pl
rows, draw = int(sys.argv[1]), np.random.default_rng(0)
table = {f"f{i}": draw.normal(size=rows) for i in range(10)} | {f"i{i}": draw.integers(0, 1000, rows) for i in range(5)}
texts = {f"s{i}": pl.Series(draw.integers(0, 50, rows)).cast(pl.String) for i in range(4)}
frame = pl.DataFrame(table | texts).with_columns(id=pl.int_range(rows))
frame.write_csv(sys.argv[2])
print(frame.estimated_size())
"""


def main(rows: int) -> None:
    """Profiles a table of `rows` rows and 20 columns, runs the stages, and prints seconds, peaks and ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        words = [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", scratch]
        subprocess.run(words, check=True, capture_output=True)
        project, table = Path(scratch, "penguin-classifier"), Path(scratch, "large.csv")
        clean = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}

        def run(*words: str) -> tuple[str, float, int]:
            """What a command of the project's Python prints, its seconds, and its peak of memory in bytes."""
            began = time.perf_counter()
            process = subprocess.Popen(
                [project / ".venv/bin/python", *words], cwd=project, env=clean, stdout=subprocess.PIPE, text=True
            )
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            assert status == 0, printed
            return printed, time.perf_counter() - began, usage.ru_maxrss * 1024

        subprocess.run(["uv", "sync", "--quiet"], cwd=project, env=clean, check=True)
        size = int(run("-c", MAKE, str(rows), str(table))[0])
        print(f"{rows:,} rows x 20 columns: {table.stat().st_size / 1e6:,.0f} MB as CSV, {size / 1e6:,.0f} MB as Arrow")
        for what, *command in (
            ("profile", "profile", f"path={table}", "target=s0"),
            ("ingest", "ingest", "data=large", "tracking.sample_rows=0"),
            ("validate, ingest reused", "validate", "data=large", "tracking.sample_rows=0"),
            ("split, both reused", "split", "data=large", "tracking.sample_rows=0"),
            ("all three", "split", "data=large", "tracking.sample_rows=0", "reuse=false"),
            ("predict", "predict", "data=small", "version=1", f"input={table}", f"output={scratch}/scores.parquet"),
        ):
            if what.startswith("predict") and not (project / "small.csv").exists():
                with table.open() as lines:
                    (project / "small.csv").write_text("".join(islice(lines, 20_000)))
                run("-m", "penguin_classifier", "profile", "path=small.csv", "target=f0")
                run("-m", "penguin_classifier", "data=small", "model=ridge", "evaluation.importance_repeats=0")
            _, seconds, peak = run("-m", "penguin_classifier", *command)
            print(f"{what:<24} {seconds:6.1f} s   {peak / 1e6:6,.0f} MB   {peak / size:.2f}x", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
