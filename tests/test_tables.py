"""Tables that nobody prepared: real ones go from file to model, any one works or is refused in a sentence."""

import csv
import importlib.resources
import io
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import Driver, Project, bake
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def driver(environment, tmp_path_factory):
    with Driver(Project(bake(tmp_path_factory.mktemp("tables")), environment)) as made:
        yield made


# --- Real tables: package, file, target. Nothing else is typed.

TABLES = [
    ("palmerpenguins", "data/penguins.csv", "species"),
    ("palmerpenguins", "data/penguins-raw.csv", "Sex"),
    ("sklearn", "datasets/data/iris.csv", "virginica"),
    ("sklearn", "datasets/data/breast_cancer.csv", "column_30"),
    ("sklearn", "datasets/data/wine_data.csv", "column_13"),  # the first line is no header
    ("statsmodels", "datasets/anes96/anes96.csv", "vote"),  # tabs, single quotes
    ("statsmodels", "datasets/fair/fair.csv", "affairs"),
    ("statsmodels", "datasets/modechoice/modechoice.csv", "choice"),  # semicolons
    ("statsmodels", "datasets/randhie/randhie.csv", "mdvis"),
    ("statsmodels", "datasets/grunfeld/grunfeld.csv", "invest"),
    ("statsmodels", "datasets/engel/engel.csv", "foodexp"),
    ("statsmodels", "datasets/cancer/cancer.csv", "cancer"),
    ("statsmodels", "datasets/star98/star98.csv", "MATHTOT"),
    ("statsmodels", "datasets/spector/spector.csv", "GRADE"),  # spaces, 32 rows
    ("lifelines", "datasets/rossi.csv", "arrest"),
    ("lifelines", "datasets/gbsg2.csv", "cens"),
    ("lifelines", "datasets/lung.csv", "status"),
    ("lifelines", "datasets/ACTG175.csv", "cens"),
    ("lifelines", "datasets/dd.csv", "democracy"),
    ("lifelines", "datasets/canadian_senators.csv", "observed"),
    ("lifelines", "datasets/kidney_transplant.csv", "death"),
    ("vega_datasets", "_data/cars.json", "Miles_per_Gallon"),
    ("vega_datasets", "_data/seattle-weather.csv", "weather"),  # sorted by date
    ("vega_datasets", "_data/airports.csv", "state"),
]


# Each is unlike the others; EVERY_TABLE=1 takes all, as docs/measured.md shows them.
UNLIKE = "penguins-raw wine_data anes96 modechoice randhie star98 spector ACTG175 cars seattle-weather".split()
CHOSEN = [each for each in TABLES if Path(each[1]).stem in UNLIKE or "EVERY_TABLE" in os.environ]


@pytest.mark.parametrize(("package", "file", "target"), CHOSEN, ids=[Path(file).stem for _, file, _ in CHOSEN])
def test_a_real_table_becomes_a_model_as_good_as_plain_boosting(package, file, target, driver, tmp_path):
    path = Path(str(importlib.resources.files(package))) / file
    name = "real_" + re.sub(r"\W", "_", path.name.partition(".")[0])
    code, printed = driver.do("profile", f"path={path}", f"target={target}", f"name={name}", "trial_seconds=0")
    assert code == 0, printed
    code, printed = driver.do(f"data={name}", "evaluation.importance_repeats=0", "evaluation.resamples=20")
    assert code == 0, printed
    assert re.search(rf"{name} version 1 is (champion|challenger)", printed)
    written = yaml.safe_load((driver.project.path / f"conf/data/{name}.yaml").read_text())
    task = next(each["/task"] for each in written["defaults"] if "/task" in each)
    metric = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}[task]
    outputs = str(driver.project.path / "outputs")
    code, printed = driver.do("rival", outputs, target, metric, written.get("task", {}).get("positive"))
    assert code == 0, printed
    found = json.loads(printed)
    with (Path(__file__).parents[1] / ".cache/tables.jsonl").open("a") as file:  # what docs/measured.md is made of
        file.write(json.dumps({"package": package, "table": name, "target": target, "task": task, **found}) + "\n")
    chance = 1.5 / found["test"] ** 0.5  # few test rows tell little
    assert found["ours"] >= found["theirs"] - min(0.1, 0.3 * chance), found


# --- Any table


def cells(draw: st.DrawFn, rows: int) -> list[str]:
    """A column's texts of one kind, some of them missing in one of the ways that people write that."""
    kinds = {
        "whole": st.integers(-50, 10**4).map(str),
        "large": st.integers(2**62, 2**70).map(str),
        "number": st.floats(-1e6, 1e6).map(lambda value: f"{value:.3f}"),
        "wild": st.sampled_from(["inf", "-inf", "1e400", "0", "-0.0", "1.5"]),
        "money": st.integers(0, 10**7).map(lambda value: f"$ {value:,}"),
        "date": st.dates().map(lambda value: value.strftime("%d.%m.%Y")),
        "mixed": st.one_of(st.dates().map(str), st.integers().map(str)),
        "few": st.sampled_from(["a", "b ", "Ä", "x;y"]),
        "yes": st.sampled_from(["Yes", "No"]),
        "truth": st.sampled_from(["true", "FALSE"]),
        "text": st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
        "words": st.lists(st.sampled_from("one two three four five".split()), min_size=4, max_size=9).map(" ".join),
        "same": st.just("7"),
        "none": st.just(""),
    }
    kind = kinds[draw(st.sampled_from(sorted(kinds)))]
    absent = draw(st.sampled_from([[], [], [""], ["NA", "", "?"]]))
    whole = st.one_of(kind, kind, kind, st.sampled_from(absent)) if absent else kind
    return draw(st.lists(whole, min_size=rows, max_size=rows))


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A delimited text with a column `y`."""
    rows = draw(st.sampled_from([1, 3, 12, 40, 150]))
    names = draw(
        st.lists(st.sampled_from(["id", "a b", "c.d", 'e"f', "date", "x", "🐧", "${n}"]), unique=True, max_size=5)
    )
    separator = draw(st.sampled_from(",;\t|"))
    columns = [[name, *cells(draw, rows)] for name in [*names, "y"]]
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(zip(*columns, strict=True))
    return text.getvalue()


@effort(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=tables())
def test_any_table_works_or_is_refused_in_a_sentence(text, driver):
    path = driver.project.path / "data/any.csv"
    path.write_text(text, encoding="utf-8")
    commands = [
        ["profile", f"path={path}", "target=y", "force=true", "trial_seconds=1"],
        ["data=any", "evaluation.importance_repeats=0", "evaluation.resamples=20", "tracking.sample_rows=0"],
    ]
    for words in commands:
        code, printed = driver.do(*words)
        assert code in (0, 1), printed
        assert "Traceback" not in printed and "traceback.txt" not in printed, printed
        if code:
            assert re.search(rf"^{driver.project.package}: \S", printed, re.MULTILINE), printed
            return
