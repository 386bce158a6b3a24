"""Rows of answers in which every two of them meet, as JSON for a workflow's matrix."""

import json
from itertools import combinations, product
from pathlib import Path

CHOICES = json.loads((Path(__file__).parents[1] / "cookiecutter.json").read_text(encoding="utf-8"))["_choices"]


def pairs(row: dict[str, str]) -> set[tuple]:
    """The pairs of answers that meet in a row."""
    return {*combinations(row.items(), 2)}


def rows(choices: dict[str, list[str]]) -> list[dict[str, str]]:
    """Few rows that hold every pair: each is the one of all that brings the most pairs that are still missing."""
    every = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    missing, taken = set().union(*map(pairs, every)), []
    while missing:
        taken.append(max(every, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(taken[-1])
    return taken


if __name__ == "__main__":
    # No line of code depends on the license.
    found = rows({name: values for name, values in CHOICES.items() if name != "license"})
    print(json.dumps([{**row, "answers": " ".join(f"{name}={value}" for name, value in row.items())} for row in found]))
