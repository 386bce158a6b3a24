"""Whether rows are still like those that a model was trained on: tests of the counts of both (column_counts.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from ...errors import inert

EXPECTED = 5  # rows that a level needs in both tables for the chi-squared test to count it on its own
BARS = 12  # of a figure
NAMED = 5  # new values that a sentence names


class _Test(NamedTuple):
    """The part of a Finding that the counts of one column decide."""

    what: str
    distance: float
    p: float
    sentence: str


@dataclass(frozen=True)
class Finding:
    """The result of one test: of a column, of the answers, of the labels or of a score."""

    part: str  # features, answers, target or score
    name: str  # of the column or score
    what: str  # values, length, words, missing, unseen, or score
    distance: float  # the share of rows that moved, from 0 to 1; of a score, how much it fell
    p: float  # the probability of at least this distance if nothing has changed
    sentence: str  # "mean 43.9 -> 41.2"

    @property
    def label(self) -> str:
        """Its name in a sentence: "island", "answers: probability"."""
        return inert(self.name if self.part in ("features", "score") else f"{self.part}: {self.name}")


def findings(
    was: dict[str, Any], now: dict[str, Any], *, units: tuple[int, int], part: str = "features"
) -> list[Finding]:
    """A finding for each view of each column, and for its missing values: the summary `was` against the counts `now`.

    `units`: the number of independent rows, or groups of rows, in each. Numbers, dates and lengths are compared by the
    Kolmogorov-Smirnov test (conservative for tied values), levels by Pearson's chi-squared test, missing values by
    Fisher's exact test, and new values by the probability that a value so frequent is in none of the old rows.
    """
    scale = units[0] / max(1, was["rows"]), units[1] / max(1, now["rows"])
    results = []
    for name, kept in was["columns"].items():
        new = now["columns"][name]
        missing = (kept["missing"], was["rows"]), (new["missing"], now["rows"])
        tests = [_test_missing(*missing, scale)] if missing[0][0] or missing[1][0] else []
        for what, view in kept["views"].items():
            tests += _test_view(what, kept["kind"], view, new["views"][what], scale)
        results += [Finding(part, name, *test) for test in tests]
    return results


def score_fall(
    was: tuple[float, float, float],
    now: tuple[float, float, float],
    *,
    name: str,
    sentence: str,
    confidence: float,
    max_loss: float,
    rate: float,
) -> Finding:
    """Whether a score, (value, low, high) with `confidence`, fell by more than `max_loss`.

    `sentence` is continued by the difference and its interval, (low to high), at the confidence that belongs to the
    `rate` of false alarms: 98% for 0.01.

    Source: Zou and Donner, Construction of confidence limits about effect measures (2008).
    """
    fall, normal = was[0] - now[0], stats.norm.ppf((1 + confidence) / 2)
    margins = np.hypot(was[0] - was[1], now[2] - now[0]) / normal, np.hypot(was[2] - was[0], now[0] - now[1]) / normal
    p = float(stats.norm.sf((fall - max_loss) / margins[0])) if margins[0] else float(fall <= max_loss)
    high, low = (-fall + sign * stats.norm.ppf(1 - rate) * each for sign, each in zip((1, -1), margins, strict=True))
    sentence += f": {-fall:+.4f} ({low:+.4f} to {high:+.4f} with {100 * (1 - 2 * rate):.4g}% confidence)"
    return Finding("score", name, "score", fall, p, sentence)


def alarms(tests: list[Finding], *, rate: float, min_distance: float) -> tuple[list[Finding], list[float]]:
    """The findings of `tests` that are alarms, and the p-value of each test, corrected for their number.

    An alarm has a corrected p-value of at most `rate` and a distance of at least `min_distance`. Where nothing has
    changed, the probability of any alarm is at most `rate`. Source: Holm, A simple sequentially rejective multiple test
    procedure (1979).
    """
    order = sorted(range(len(tests)), key=lambda at: tests[at].p)
    adjusted, highest = [1.0] * len(tests), 0.0
    for rank, at in enumerate(order):
        highest = adjusted[at] = min(1.0, max(highest, (len(tests) - rank) * tests[at].p))
    significant = [test for test, p in zip(tests, adjusted, strict=True) if p <= rate]
    return [test for test in significant if test.distance >= min_distance], adjusted


def bars(was: dict[str, Any], now: dict[str, Any], what: str) -> list[tuple[str, float, float]]:
    """A column's distribution then and now, for its view `what`: (label, old share, new share) of each range or level.

    Shares are from 0 to 1: [("Biscoe", 0.61, 0.58), ("Dream", 0.39, 0.42)].
    """
    old, new, kind = was["views"][what], now["views"][what], was["kind"]
    if not old["ordered"]:
        counts = {level: [count, 0] for level, count in zip(old["at"], old["counts"], strict=True)}
        for level, count in [*zip(old["at"], new["counts"], strict=True), *new["new"].items()]:
            counts.setdefault(level, [0, 0])[1] += count
        totals = [max(1, sum(each[side] for each in counts.values())) for side in (0, 1)]
        shares = [(level, each[0] / totals[0], each[1] / totals[1]) for level, each in counts.items()]
        first = sorted(shares, key=lambda bar: -max(bar[1:]))[:BARS]
        rest = [1 - sum(bar[side] for bar in first) for side in (1, 2)]
        return [*first, ("all others", *rest)] if len(shares) > BARS else first
    ends = np.linspace(old["at"][0], old["at"][-1], BARS + 1)
    sides = []
    for view in (old, new):
        below = np.cumsum(view["counts"]) / max(1, sum(view["counts"]))
        reached = np.interp(ends, old["at"], below[:-1])
        sides.append([reached[0], *np.diff(reached), 1 - below[-2]])
    labels = [f"to {_written(end, kind, what)}" for end in ends]
    return list(zip([*labels, f"above {labels[-1].removeprefix('to ')}"], *sides, strict=True))


def _test_missing(was: tuple[int, int], now: tuple[int, int], scale: tuple[float, float]) -> _Test:
    """The test of missing values, each side as (missing, rows)."""
    shares = was[0] / max(1, was[1]), now[0] / max(1, now[1])
    pairs = zip((was, now), scale, strict=True)
    table = [[round(part[0] * by), round((part[1] - part[0]) * by)] for part, by in pairs]
    p = float(stats.fisher_exact(table).pvalue)
    return _Test("missing", abs(shares[1] - shares[0]), p, f"missing {_percent(shares[0])} -> {_percent(shares[1])}")


def _test_view(
    what: str, kind: str, was: dict[str, Any], now: dict[str, Any], scale: tuple[float, float]
) -> list[_Test]:
    """The tests of one view of a column; none where either table has no value at all."""
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
        return [_Test(what, distance, p, f"mean {'' if what == 'values' else f'{what} '}{' -> '.join(means)}")]
    levels = [*was["at"], *new]
    old, recent = counts[0] * scale[0], counts[1] * scale[1]
    at = int(np.abs(shares[1] - shares[0]).argmax())
    share = f"{inert(levels[at])} {_percent(shares[0][at])} -> {_percent(shares[1][at])}"
    distance = float(np.abs(shares[1] - shares[0]).sum() / 2)
    tests = [_Test(what, distance, _chi2(old, recent), share if what == "values" else "other words")]
    if what == "values" and new:
        named = ", ".join(map(inert, sorted(new, key=lambda level: -new[level])[:NAMED]))
        p = _unseen(old + recent, max(new.values()) * scale[1], sizes)
        sentence = f"{sum(new.values()):,} rows hold {named}, never seen in training"
        tests.append(_Test("unseen", sum(new.values()) / rows[1], p, sentence))
    return tests


def _unseen(totals: np.ndarray, most: float, sizes: list[float]) -> float:
    """The probability that a level as frequent as `most` rows is in the new table only, if both are alike.

    `totals`: the rows of each level in both tables; `sizes`: the rows of each table.
    """
    frequent, rows = totals[totals >= most], sum(sizes)
    return float(min(1.0, stats.hypergeom.pmf(0, round(rows), np.round(frequent).astype(int), round(sizes[0])).sum()))


def _chi2(old: np.ndarray, new: np.ndarray) -> float:
    """The p-value of Pearson's chi-squared test of two rows of counts; levels too rare for it are counted together."""
    share = old.sum() / (old.sum() + new.sum())
    order = np.argsort(-(old + new), kind="stable")
    expected = (old + new)[order] * min(share, 1 - share)
    kept = int((expected >= EXPECTED).sum())
    if expected[kept:].sum() < EXPECTED:  # even together they are too rare
        kept -= 1
    kept = max(kept, 0)
    table = np.array([[*part[order][:kept], part[order][kept:].sum()] for part in (old, new)])
    table = table[:, table.sum(axis=0) > 0]
    return float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0


def _written(value: float, kind: str, what: str) -> str:
    if kind == "date" and what == "values":
        return str(np.datetime64(int(value), "us").astype("datetime64[D]"))
    return f"{value:.4g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
