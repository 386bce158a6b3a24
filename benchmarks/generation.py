"""How long the template takes to generate a project, beside an empty template, in one run: prints the ratio.

make .venv/ready && .venv/bin/python benchmarks/generation.py [rounds]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def generate(template: Path, output: Path, *words: str) -> float:
    """Seconds that cookiecutter's command takes, without the lock step."""
    command = [sys.executable, "-m", "cookiecutter", "--no-input", *words, str(template), "--output-dir", str(output)]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COOKIECUTTER_MLPROJECT_LOCK": "no"})
    return time.perf_counter() - began


def main(rounds: int) -> None:
    """Takes the three in turn, `rounds` times, and prints medians and ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        empty = Path(scratch, "empty")
        (empty / "{{cookiecutter.slug}}").mkdir(parents=True)
        (empty / "{{cookiecutter.slug}}/README.md").write_text("empty\n")
        (empty / "cookiecutter.json").write_text(json.dumps({"slug": "empty"}))
        cases = {"empty": (empty,), "hooks refused": (ROOT, "--accept-hooks", "no"), "whole": (ROOT,)}
        took: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(rounds):
            for name, (template, *words) in cases.items():
                took[name].append(generate(template, Path(scratch, f"{name} {turn}"), *words))
    base = statistics.median(took["empty"])
    for name, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{name:<14} {median:.3f} s   {median / base:.2f}x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
