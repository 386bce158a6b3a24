"""Levels of rows that no training row of a model had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import inert

if TYPE_CHECKING:
    import pandas as pd

    from ...model.loader import Model

NAMED = 3  # levels of a column in a sentence


def unseen(model: Model, frame: pd.DataFrame) -> Counter[tuple[str, str]]:
    """How many rows of `frame` (n, d), as the pipeline takes it, hold a level that it was not fitted to, by column."""
    rows: Counter[tuple[str, str]] = Counter()
    for name, levels in _fitted(model.pipeline):
        texts = frame[name].dropna().astype(str)
        rows.update({(name, level): count for level, count in texts[~texts.isin(levels)].value_counts().items()})
    return rows


def in_words(rows: Counter[tuple[str, str]], *, sensitive: Collection[str]) -> str:
    """What `unseen` gives for all rows in words, without levels of `sensitive` columns; "" for none."""
    phrases = []
    for name in dict.fromkeys(name for name, _ in rows):
        levels = {level: count for (column, level), count in rows.most_common() if column == name}
        named = ", ".join(inert(level)[:40] for level in list(levels)[:NAMED])
        more = f" and {len(levels) - NAMED:,} more" if len(levels) > NAMED else ""
        words = f"{len(levels):,} level{'s' * (len(levels) > 1)}" if name in sensitive else named + more
        phrases.append(f"{inert(name)}: {words} ({sum(levels.values()):,} rows)")
    return f"never seen in training: {'; '.join(phrases)}" if phrases else ""


def _fitted(pipeline: Any) -> Iterator[tuple[str, set[str]]]:
    """The columns that the encoders of `pipeline` know by their levels, with these; each member has the same."""
    for _, encoder, columns in getattr(next(_prepared(pipeline), None), "transformers_", []):
        by_step = [getattr(step, "categories_", []) for _, step in getattr(encoder, "steps", [("", encoder)])]
        for name, levels in zip(columns, next(filter(None, by_step), []), strict=False):  # later ones are of codes
            yield name, set(map(str, levels))


def _prepared(part: Any) -> Iterator[Any]:
    """The fitted transformers of columns in `part`, a pipeline, an ensemble, or what is wrapped around one."""
    if hasattr(part, "transformers_"):
        yield part
        return
    inside = [step for _, step in getattr(part, "steps", [])]
    for name in ("estimators_", "estimator_", "regressor_", "estimator"):
        held = getattr(part, name, [])
        inside += held if isinstance(held, list) else [held]
    for each in inside:
        yield from _prepared(each)
