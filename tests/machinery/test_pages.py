"""The report and the model card hold what they are given, whatever it is called; figures suit any page."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from matplotlib import pyplot
from penguin_classifier.machinery.evaluation.result import SliceScore
from penguin_classifier.machinery.report import pages, plots

NAME = '<b>"x"|`$a$_b_*c*\n# 🐧' + "w" * 200
ROW = {"metric": "f1", "candidate": 0.9, "low": 0.8, "high": 0.95, "baseline": 0.0, "champion": 0.88}
CONTENT = {
    "title": "penguins version 3",
    "verdict": {"passed": True, "alias": "champion", "sentence": "f1 0.9000 beats 0.8800"},
    "about": "A classifier of penguins.",
    "facts": [("commit", "1a2b3c4")],
    "metric": "f1",
    "scores": [ROW | {"validation": None, "train": 123456.7}],
    "confidence": 0.95,
    "comparison": {"sentence": "Better.", "champion": "version 2", "rows": 71, "gain": 0.02, "low": 0.0, "high": 0.1},
    "gates": [{"name": "champion", "passed": False, "sentence": "too close"}],
    "members": [{"name": "forest", "scores": {"f1": 0.87}, "weight": 2}],
    "slices": [{"column": "island", "value": "Dream", "rows": 9, "score": None, "low": None, "high": None, "note": ""}],
    "calibration": {"error": 0.03, "sentence": "Good."},
    "importances": [("mass", 0.2)],
    "figures": [],
    "columns": [("island", "text"), ("mass", "number")],
    "target": "sex",
    "limits": ["Penguins only."],
    "ask": ["curl localhost:8080/invocations -d '{}'"],
    "reproduce": ["git checkout 1a2b3c4"],
    "made": "seed 42",
}
EMPTY = {name: [] if isinstance(value, list) else None for name, value in CONTENT.items()}
EMPTY |= {"title": "candidate", "about": "", "metric": "f1", "confidence": 0.9, "made": ""}
HOSTILE = {name: NAME if isinstance(value, str) else value for name, value in CONTENT.items()} | {
    "columns": [(NAME, NAME)],
    "facts": [(NAME, NAME)],
    "members": [{"name": NAME, "scores": {NAME: 0.87}, "weight": None}],
    "gates": [{"name": NAME, "passed": True, "sentence": NAME}],
}


class Tags(HTMLParser):
    """The tags of a page, counted."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_the_report_says_it_all_and_needs_no_network():
    page = pages.report(**CONTENT)
    for text in ("✓ Passed", "champion", "0.9000", "0.8000 to 0.9500", "95\N{NO-BREAK SPACE}%", "✗ failed", "Dream"):
        assert text in page
    assert ">forest<td" in page and ">0.8700" in page
    assert "validation" not in page and "123,457" in page  # what nobody has is no column; large numbers are short
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", page)


@pytest.mark.parametrize("make", [pages.report, pages.card])
def test_what_is_not_there_leaves_no_stub(make):
    text = make(**EMPTY)
    assert "Not decided yet" in text and "Slices" not in text and "Members" not in text and "None" not in text
    assert "How to reproduce" not in text and make(**CONTENT) == make(**CONTENT)


def test_hostile_names_are_text():
    page = Tags(pages.report(**HOSTILE)).found
    assert page.count("b") == Tags(pages.report(**CONTENT)).found.count("b")
    table = pages.card(**HOSTILE).split("| gate | result | why |\n")[1].splitlines()
    assert len(re.findall(r"(?<!\\)\|", table[1])) == 4 and "\\<b>" in table[1]


def test_numbers_are_short():
    numbers = {0.12345: "0.1235", 1234.56: "1,234.6", 71: "71", 1e12: "1.000e+12", 1e-7: "1.000e-07", None: "–"}
    assert {value: pages._shown(value) for value in [*numbers]} == numbers
    assert pages._shown(float("nan")) == "–"


def figures() -> list[str]:
    """Two figures as they go into one page."""
    target, chances = np.array([0, 1] * 20), np.linspace(0, 1, 40)
    shares = np.stack([1 - chances, chances], axis=1)
    classes = np.array(["$a", NAME])
    made = plots.classification(classes[target], shares, predicted=classes[target], classes=classes)
    table = pl.DataFrame({name: [0.2, 0.4] for name in ("threshold", "precision", "recall", "f1", "flagged")})
    made["thresholds"] = plots.threshold_curve(table, chosen=0.5)
    slices = [SliceScore("island", NAME, 9, 0.5, 0.4, 0.6)]
    made["slices"] = plots.slice_intervals(slices, metric="f1", reference=0.5)
    made["curves"] = plots.training_curves({"train": [(1, 0.5), (2, 0.7)]}, metric="f1")
    return [plots.svg(figure) for figure in made.values()]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_figures_share_a_page():
    texts = figures()
    ids = [name for text in texts for name in re.findall(r' id="([^"]*)"', text)]
    assert len(ids) == len(set(ids)) and not re.search("<b>|<style|<metadata|<[?]xml|#000000", "".join(texts))
    assert all(text.startswith("<svg") and "currentColor" in text and "system-ui" in text for text in texts)
    assert {name for text in texts for name in re.findall(r'(?:url\(|href=")#([\w-]+)', text)} <= set(ids)


def test_a_figure_is_the_same_bytes_in_another_process():
    code = "from penguin_classifier.machinery.report import plots as p\n"
    code += "print(p.svg(p.training_curves({'a': [(1, .5), (2, .7)]}, metric='f1')), end='')"
    made = plots.svg(plots.training_curves({"a": [(1, 0.5), (2, 0.7)]}, metric="f1"))
    settings = os.environ | {"PYTHONHASHSEED": "7", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=settings, check=True)
    assert done.stdout == made


def test_a_figure_of_anybody_suits_dark_pages():
    figure, axes = pyplot.subplots()
    axes.plot([1, 2])
    assert "#000000" not in plots.svg(figure)
    pyplot.close(figure)


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
def test_a_confusion_matrix_has_numbers_where_they_can_be_read(classes):
    labels = np.array([f"a class with a long name {number}" for number in range(classes)])
    rows = np.repeat(labels, 1234)
    axes = plots._confusion(rows, rows, labels).axes[0]
    assert ("1234" in [text.get_text() for text in axes.texts]) == (classes < 30)
    assert all(len(label.get_text()) <= 20 for label in axes.get_xticklabels())
