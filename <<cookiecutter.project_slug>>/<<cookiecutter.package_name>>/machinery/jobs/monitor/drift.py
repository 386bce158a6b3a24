"""Whether rows are still like those that a model was trained on: tests of the counts of both (column_counts.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

EXPECTED = 5  # rows that a level has to have, in both tables, for a chi-squared test to count it apart
BARS = 12  # of a figure
NAMED = 5  # values never seen before that are told

Told = tuple[str, float, float, str]  # of a Finding: what, distance, p, sentence


@dataclass(frozen=True)
class Finding:
    """What a column, or the answers, were held to."""

    part: str  # features, answers, target or score
    name: str  # the column's, or the score's
    what: str  # values, length, words, missing, unseen, or score
    distance: float  # the share of rows that moved
    p: float  # how likely so large a distance is where nothing has changed
    sentence: str

    @property
    def label(self) -> str:
        """What it is called in a sentence."""
        return self.name if self.part in ("features", "score") else f"{self.part}: {self.name}"


def findings(
    was: dict[str, Any], now: dict[str, Any], *, units: tuple[int, int], part: str = "features"
) -> list[Finding]:
    """Each column of the summary `was` against the rows counted as `now`.

    `units`: of how many independent rows, or groups of rows, each consists. What is ordered is held to Kolmogorov and
    Smirnov's test (conservative where values are tied), what is not to Pearson's chi-squared, missing values to
    Fisher's exact test, values never seen before to the chance that so frequent a value is in none of the old rows.
    """
    scale = units[0] / max(1, was["rows"]), units[1] / max(1, now["rows"])
    found = []
    for name, kept in was["columns"].items():
        new = now["columns"][name]
        missing = (kept["missing"], was["rows"]), (new["missing"], now["rows"])
        told = [_missing(*missing, scale)] if missing[0][0] or missing[1][0] else []
        for what, view in kept["views"].items():
            told += _view(what, kept["kind"], view, new["views"][what], scale)
        found += [Finding(part, name, *each) for each in told]
    return found


def fallen(
    was: tuple[float, float, float],
    now: tuple[float, float, float],
    *,
    name: str,
    sentence: str,
    confidence: float,
    max_loss: float,
    rate: float,
) -> Finding:
    """Whether a score, (value, low, high) with `confidence`, has fallen by more than `max_loss`; the interval that is
    told of the difference is the one by which it is judged where false alarms may come at the `rate`.

    Source: Zou and Donner, Construction of confidence limits about effect measures (2008).
    """
    fall, known = was[0] - now[0], stats.norm.ppf((1 + confidence) / 2)
    margins = np.hypot(was[0] - was[1], now[2] - now[0]) / known, np.hypot(was[2] - was[0], now[0] - now[1]) / known
    p = float(stats.norm.sf((fall - max_loss) / margins[0])) if margins[0] else float(fall <= max_loss)
    high, low = (-fall + sign * stats.norm.ppf(1 - rate) * each for sign, each in zip((1, -1), margins, strict=True))
    sentence += f": {-fall:+.4f} ({low:+.4f} to {high:+.4f} with {100 * (1 - 2 * rate):.4g}% confidence)"
    return Finding("score", name, "score", was[0] - now[0], p, sentence)


def alarms(found: list[Finding], *, rate: float, min_distance: float) -> tuple[list[Finding], list[float]]:
    """The tests that raise an alarm, and the p-value of each as it is where so many tests are made.

    Where nothing has changed, one alarm or more is raised at most at the `rate`. Source: Holm, A simple sequentially
    rejective multiple test procedure (1979).
    """
    order = sorted(range(len(found)), key=lambda at: found[at].p)
    adjusted, highest = [1.0] * len(found), 0.0
    for rank, at in enumerate(order):
        highest = adjusted[at] = min(1.0, max(highest, (len(found) - rank) * found[at].p))
    sure = [test for test, p in zip(found, adjusted, strict=True) if p <= rate]
    return [test for test in sure if test.distance >= min_distance], adjusted


def bars(was: dict[str, Any], now: dict[str, Any], what: str) -> list[tuple[str, float, float]]:
    """What the old and the new rows of a column look like: label, old share, new share, of ranges or of levels."""
    old, new, kind = was["views"][what], now["views"][what], was["kind"]
    if not old["ordered"]:
        counts = {level: [count, 0] for level, count in zip(old["at"], old["counts"], strict=True)}
        for level, count in [*zip(old["at"], new["counts"], strict=True), *new["new"].items()]:
            counts.setdefault(level, [0, 0])[1] += count
        totals = [max(1, sum(each[side] for each in counts.values())) for side in (0, 1)]
        found = [(level, each[0] / totals[0], each[1] / totals[1]) for level, each in counts.items()]
        first = sorted(found, key=lambda bar: -max(bar[1:]))[:BARS]
        rest = [1 - sum(bar[side] for bar in first) for side in (1, 2)]
        return [*first, ("all others", *rest)] if len(found) > BARS else first
    ends = np.linspace(old["at"][0], old["at"][-1], BARS + 1)
    sides = []
    for view in (old, new):
        below = np.cumsum(view["counts"]) / max(1, sum(view["counts"]))
        reached = np.interp(ends, old["at"], below[:-1])
        sides.append([reached[0], *np.diff(reached), 1 - below[-2]])
    labels = [f"to {_written(end, kind, what)}" for end in ends]
    return list(zip([*labels, f"above {labels[-1].removeprefix('to ')}"], *sides, strict=True))


def _missing(was: tuple[int, int], now: tuple[int, int], scale: tuple[float, float]) -> Told:
    shares = was[0] / max(1, was[1]), now[0] / max(1, now[1])
    pairs = zip((was, now), scale, strict=True)
    table = [[round(part[0] * by), round((part[1] - part[0]) * by)] for part, by in pairs]
    p = float(stats.fisher_exact(table).pvalue)
    return "missing", abs(shares[1] - shares[0]), p, f"missing {_share(shares[0])} -> {_share(shares[1])}"


def _view(what: str, kind: str, was: dict[str, Any], now: dict[str, Any], scale: tuple[float, float]) -> list[Told]:
    """The findings of one view of a column; none where either table has no value at all."""
    new = now["new"]
    counts = np.array(was["counts"] + [0] * len(new)), np.array(now["counts"] + list(new.values()))
    rows = [int(part.sum()) for part in counts]
    if not min(rows):
        return []
    shares, sizes = [part / part.sum() for part in counts], [count * by for count, by in zip(rows, scale, strict=True)]
    if was["ordered"]:
        distance = float(np.abs(np.cumsum(shares[1] - shares[0])).max())
        p = float(stats.kstwo.sf(distance, max(1, round(sizes[0] * sizes[1] / sum(sizes)))))
        means = [_written(each["sum"] / count, kind, what) for each, count in zip((was, now), rows, strict=True)]
        return [(what, distance, p, f"mean {'' if what == 'values' else f'{what} '}{' -> '.join(means)}")]
    levels = [*was["at"], *new]
    old, recent = counts[0] * scale[0], counts[1] * scale[1]
    at = int(np.abs(shares[1] - shares[0]).argmax())
    told = f"{levels[at]} {_share(shares[0][at])} -> {_share(shares[1][at])}" if what == "values" else "other words"
    distance = float(np.abs(shares[1] - shares[0]).sum() / 2)
    found = [(what, distance, _chi2(old, recent), told)]
    if what == "values" and new:
        named = ", ".join(sorted(new, key=lambda level: -new[level])[:NAMED])
        p = _unseen(old + recent, max(new.values()) * scale[1], sizes)
        found.append(("unseen", sum(new.values()) / rows[1], p, f"{sum(new.values()):,} rows hold {named}"))
    return found


def _unseen(totals: np.ndarray, most: float, sizes: list[float]) -> float:
    """How likely one of the levels that have at least `most` of the `totals` in both tables is in the new one alone."""
    frequent, rows = totals[totals >= most], sum(sizes)
    return float(min(1.0, stats.hypergeom.pmf(0, round(rows), np.round(frequent).astype(int), round(sizes[0])).sum()))


def _chi2(old: np.ndarray, new: np.ndarray) -> float:
    """Pearson's test of two rows of counts, those that are too small for it put together."""
    share = old.sum() / (old.sum() + new.sum())
    order = np.argsort(-(old + new), kind="stable")
    expected = (old + new)[order] * min(share, 1 - share)
    kept = int((expected >= EXPECTED).sum())
    if expected[kept:].sum() < EXPECTED:  # the small ones are too few even together
        kept -= 1
    kept = max(kept, 0)
    table = np.array([[*part[order][:kept], part[order][kept:].sum()] for part in (old, new)])
    table = table[:, table.sum(axis=0) > 0]
    return float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0


def _written(value: float, kind: str, what: str) -> str:
    if kind == "date" and what == "values":
        return str(np.datetime64(int(value), "us").astype("datetime64[D]"))
    return f"{value:.4g}"


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"
