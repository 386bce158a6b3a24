"""What a stage gives back for the pipeline to store, log and print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

PAGES = ("report.html", "model_card.md")  # files of a stage that people look for first
APPROVED = "approved by"  # in a model card, see promote
RECORD = "outcome.json"  # of a stage, written last: a folder that has it is whole


@dataclass
class StageResult:
    summary: str  # the one line that people read while it runs
    scores: dict[str, float] = field(default_factory=dict)  # numbers to compare runs by
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # (iteration, value)
    facts: dict[str, Any] = field(default_factory=dict)  # what later stages and the lineage need; JSON
    tags: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # sentences for the end of the run
    figures: Mapping[str, Figure | bytes] = field(default_factory=dict)  # bytes: of a PNG
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)  # file name -> content
    dataset: str = ""  # of a stage that opens the dataset: the digest of its table
    model: str = ""  # of a stage that leaves a model in its folder `model`: the digest of what it answers
    aliases: dict[str, Any] | None = None  # of a stage that moves aliases: what holds each of them afterwards
    closing: str = ""  # lines for the end of the command
    code: int = 0  # the exit code of `python -m`; under `mlflow run`, which knows failure only, tags tell
