import json
import random
import re
import shlex
import shutil
import zipfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml
from mlflow import MlflowClient
from penguin_classifier.machinery.jobs.profile import job as profile
from penguin_classifier.machinery.layout import Layout
from penguin_classifier.machinery.mlflow import model_format

LAYOUT = Layout(Path(__file__).parents[1], "penguin_classifier")

ROWS = 600
QUICK = ("evaluation.importance_repeats=0", "evaluation.resamples=0")
WORDS = [
    "please",
    "the",
    "service",
    "billing",
    "slow",
    "broken",
    "great",
    "thanks",
    "call",
    "app",
    "love",
    "refund",
    "waiting",
]


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of conf/ to write to."""
    shutil.copytree(LAYOUT.conf, tmp_path / "conf")
    job = tmp_path / "conf/job/profile.yaml"
    job.write_text(job.read_text().replace("trial_seconds: 20", "trial_seconds: 0"))  # a test tries that
    monkeypatch.setattr(Layout, "conf", tmp_path / "conf")
    return tmp_path / "conf/data"


def customers() -> pl.DataFrame:
    """The table that people come with: all is text, nothing is clean, one column gives the answer away."""
    draw = random.Random(1)
    rows = []
    for number in range(ROWS):
        tenure = draw.randint(0, 60)
        left = draw.random() < (0.4 if tenure < 12 else 0.04)
        rows.append(
            {
                "customer_id": f"C-{number:05}",
                "full name": f"Ann{number} Planted",
                "mail": f"planted{number}@example.org",
                "since": (date(2019, 1, 1) + timedelta(days=draw.randint(0, 1500))).strftime("%d.%m.%Y"),
                "revenue": f"$ {draw.uniform(5, 9000):,.2f}",
                "age": draw.choice(["NA", "n/a", "-", "", "?"]) if draw.random() < 0.1 else str(draw.randint(18, 90)),
                "plan": draw.choice(["Basic", "Pro", "Pro ", "Enterprise"]),
                "tenure": str(tenure),
                "tenure_years": f"{tenure / 12:.6f}",
                "paperless": draw.choice(["Yes", "No"]),
                "comment": " ".join(draw.choices(WORDS, k=draw.randint(5, 12))),
                "exit_reason": "moved" if left else "",
                "region": "north",
                "fax": "",
                "churned": "Yes" if left else "No",
            }
        )
    return pl.DataFrame(rows)


@pytest.fixture
def table(outputs):
    customers().write_csv(outputs / "customers.csv")
    return str(outputs / "customers.csv")


def test_two_commands_make_a_model_of_a_table_that_nobody_has_described(do, conf, table):
    code, printed = do("profile", f"path={table}", "target=churned")
    assert code == 0, printed
    assert "uv run mlflow run . --env-manager local -P data=customers" in printed
    written = yaml.safe_load((conf / "customers.yaml").read_text())
    assert {"/task": "binary"} in written["defaults"]
    assert written["columns"] == {
        "target": "churned",
        "key": ["customer_id"],
        "drop": ["full name", "mail", "tenure_years", "exit_reason", "region", "fax"],
        "sensitive": ["full name", "mail"],
    }
    assert written["types"]["since"] == {"kind": "date", "format": "%d.%m.%Y"}
    assert written["types"]["revenue"]["kind"] == "number" and written["types"]["age"]["kind"] == "integer"
    assert {"NA", "n/a", "-", "?"} <= set(written["missing"]) and written["task"]["positive"] == "Yes"
    assert "exit_reason # alone tells 1.000 of churned: leakage?" in (conf / "customers.yaml").read_text()

    code, printed = do("data=customers", "model=logistic", *QUICK)
    assert code == 0 and "customers version 1 is champion" in printed, printed

    again = do("profile", f"path={table}", "target=churned")
    assert (
        again[0] == 1 and "conf/data/customers.yaml is there already: name=... writes another, force=true" in again[1]
    )
    assert do("profile", f"path={table}", "target=churned", "name=mine")[0] == 0 and (conf / "mine.yaml").exists()


def test_the_same_table_gives_the_same_model_from_text_and_from_parquet(do, conf, outputs):
    draw = random.Random(2)
    table = pl.DataFrame(
        {"size": [draw.random() for _ in range(200)], "town": [draw.choice(["Bern", None]) for _ in range(200)]}
    ).with_columns(y=pl.Series([draw.choice("pppq") for _ in range(200)]))
    table.write_csv(outputs / "text.csv")
    pl.from_pandas(table.to_pandas()).write_parquet(outputs / "binary.parquet")
    found = []
    for name in ("text.csv", "binary.parquet"):
        assert do("profile", f"path={outputs / name}", "target=y", "trial_seconds=0")[0] == 0
        code, printed = do("train", f"data={name.partition('.')[0]}", "model=forest", "model.n_estimators=20")
        assert code == 0, printed
        found.append(json.loads((newest(outputs, "train") / "outcome.json").read_text())["outcome"]["facts"]["digest"])
    assert found[0] == found[1]


def test_a_model_knows_nothing_of_the_test_rows(do, conf, outputs):
    """Preprocessing that saw them would answer otherwise once they are others."""
    draw = random.Random(3)
    table = pl.DataFrame(
        {
            "id": range(300),
            "size": [draw.random() for _ in range(300)],
            "town": [draw.choice("abc") for _ in range(300)],
            "y": [draw.choice("pq") for _ in range(300)],
        }
    )
    table.write_csv(outputs / "rows.csv")
    assert do("profile", f"path={outputs / 'rows.csv'}", "target=y")[0] == 0
    models = []
    for _ in range(2):
        assert do("train", "data=rows", "model=logistic")[0] == 0
        sides = pl.read_parquet(newest(outputs, "split") / "table.parquet")
        models.append(model_format.load(newest(outputs, "train") / "model").pipeline)
        tested = table["id"].is_in(sides.filter(split="test")["id"].implode())
        table.with_columns(
            size=pl.when(tested).then(1e3).otherwise("size"), town=pl.when(tested).then(pl.lit("z")).otherwise("town")
        ).write_csv(outputs / "rows.csv")
        do("profile", f"path={outputs / 'rows.csv'}", "target=y", "force=true")
    asked = table.head(20).select("size", "town").to_pandas()
    assert tested.sum() > 30 and (models[0].predict_proba(asked) == models[1].predict_proba(asked)).all()


def newest(outputs: Path, stage: str) -> Path:
    """The folder of the newest output of `stage`."""
    return max((outputs / "outputs" / stage).glob("*/outcome.json"), key=lambda path: path.stat().st_mtime_ns).parent


def test_what_the_sample_does_not_show_is_seen_all_the_same(do, conf, outputs, monkeypatch):
    monkeypatch.setattr(profile, "SAMPLE", 50)
    rows = [f"{at % 83},{at % 7}.5,{'ab'[at % 2]}" for at in range(1000)]
    rows[13], rows[17] = "NA,1.5,a", "5,soon,b"
    (outputs / "late.csv").write_text("size,price,y\n" + "\n".join(rows))
    assert do("profile", f"path={outputs / 'late.csv'}", "target=y", "trial_seconds=0")[0] == 0
    types = yaml.safe_load((conf / "late.yaml").read_text())["types"]
    assert (types["size"]["kind"], types["price"]["kind"]) == ("integer", "text")
    code, printed = do("split", "data=late")
    assert code == 0 and "1,000 rows x 3 columns" in printed, printed


def leaked(folder: Path, planted: bytes) -> list[str]:
    """The files below `folder`, those in archives among them, that hold `planted`."""
    found = []
    for file in (file for file in folder.rglob("*") if file.is_file()):
        held = [file.read_bytes()]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                held += [archive.read(name) for name in archive.namelist()]
        found += [str(file) for each in held if planted in each]
    return found


def test_values_of_sensitive_columns_stay_in_the_table(do, conf, table, outputs):
    Path(table).rename(outputs / "source.csv")
    path = f"path={outputs / 'source.csv'}"
    printed = do("profile", path, "target=churned", "name=customers")[1]
    for words in (
        ["columns.drop=[exit_reason]"],  # the personal columns are features now
        ['expectations=[{type: expect_column_values_to_match_regex, kwargs: {column: mail, regex: "^x"}}]'],
        ["types.mail.kind=number"],
        ["columns.drop=[exit_reason]", "features.text_components=0"],  # scikit-learn refuses
    ):
        printed += do("data=customers", "model=logistic", *QUICK[1:], "evaluation.importance_repeats=1", *words)[1]
    assert "version 1" in printed and "1 of 1 expectations failed" in printed and "600 values are no number" in printed
    (outputs / "source.csv").unlink()
    shutil.rmtree(outputs / "outputs/ingest")  # the tables themselves
    shutil.rmtree(outputs / "outputs/split")
    assert "planted1" not in printed.lower()
    assert not leaked(outputs, b"planted1") and not leaked(outputs, b"Ann1 Planted")


@pytest.mark.parametrize(
    "name, text, target, sentence",
    [
        ("zero.csv", "", "y", "zero.csv is empty"),
        ("page.csv", "<!DOCTYPE html><html></html>", "y", "page.csv is a web page, not a table"),
        ("header.csv", "x,y\n", "y", "header.csv has no rows"),
        ("ragged.csv", "x,y\n" + "1,a\n" * 20 + "1,a,b\n", "y", "line 22 has 3 fields, and the header 2"),
        (
            "same.csv",
            "x,y\n" + "".join(f"{i % 7},a\n" for i in range(50)),
            "y",
            "target=y has the same value in every row",
        ),
        ("none.csv", "x,y\n" + "".join(f"{i % 7},\n" for i in range(50)), "y", "target=y is missing in every row"),
        ("keys.csv", "x,y\n" + "".join(f"{i % 7},k{i}\n" for i in range(50)), "y", "50 different texts in 50 rows"),
        (
            "rare.csv",
            "x,y\n" + "".join(f"{i % 7},{'b' if i == 9 else 'a'}\n" for i in range(50)),
            "y",
            "1 of 50 rows are b",
        ),
        (
            "alone.csv",
            "x,y\n" + "".join(f"1,{'ab'[i % 2]}\n" for i in range(50)),
            "y",
            "no column is left to predict y from",
        ),
        (
            "typo.csv",
            "amount,churned\n1,a\n",
            "churn",
            "has no such column; it has amount, churned; did you mean churned?",
        ),
        ("bare.csv", "1,a\n2,b\n", "y", "its first line looks like data: name the target column_0 to column_1"),
        ("gone.csv", None, "y", "gone.csv is not there"),
        (
            "split.csv",
            "split,y\n1,a\n2,b\n",
            "y",
            "has a column split, which is the name of the one that this project adds",
        ),
    ],
)
def test_what_holds_no_table_or_no_target_is_one_sentence(do, conf, outputs, name, text, target, sentence):
    if text is not None:
        (outputs / name).write_text(text)
    code, printed = do("profile", f"path={outputs / name}", f"target={target}")
    assert code == 1 and sentence in printed and "Traceback" not in printed, printed
    assert not (conf / f"{name.partition('.')[0]}.yaml").exists()


@pytest.mark.parametrize(
    "name, written",
    [
        ("semicolon.csv", {"separator": ";"}),
        ("western.csv", {"separator": ";", "encoding": "cp1252"}),
        ("x.csv", {"separator": ";", "encoding": "cp1252"}),  # begins as a zlib stream would
        ("sixteen.csv", {"encoding": "utf_16"}),
        ("title.csv", {"skip_lines": 2}),
        ("index.csv", {"new_columns": ["unnamed_0", "size", "town", "price"]}),  # as pandas writes its index
        ("odd[1].csv", {"glob": False, "_target_": "penguin_classifier.machinery.data.readers.delimited"}),
    ],
)
def test_a_text_is_read_as_it_is_written(do, conf, outputs, name, written):
    rows = [
        f"{i % 9},Zürich {'abc'[i % 3]},{i * 0.37:.2f}".replace(".", ",", 1 if ";" in str(written) else 0)
        for i in range(90)
    ]
    text = "size,town,price\n" + "\n".join(rows)
    if "separator" in written:
        cells = [f"{i % 9};Zürich {'abc'[i % 3]};{i * 0.37:.2f}".replace(".", ",") for i in range(90)]
        text = ("x" if name == "x.csv" else "") + "size;town;price\n" + "\n".join(cells)
    if "new_columns" in written:
        text = "\n".join(f"{at}, {line}" if at >= 0 else f", {line}" for at, line in enumerate(text.splitlines(), -1))
    if "skip_lines" in written:
        text = "Prices of the year\n\n" + text
    if "glob" in written:
        text = text.replace("Zürich b", 'Zürich 12" b', 1)
    (outputs / name).write_text(text, encoding=written.get("encoding", "utf-8"))
    code, printed = do("profile", f"path={outputs / name}", "target=price", "trial_seconds=0")
    assert code == 0, printed
    data = name.partition(".")[0].replace("[1]", "_1")
    source = yaml.safe_load((conf / f"{data}.yaml").read_text())["source"]
    assert written.items() <= source.items()
    code, printed = do("split", f"data={data}")
    assert code == 0 and f"90 rows x {4 if 'new_columns' in written else 3} columns" in printed, printed


def test_what_is_typed_of_the_source_is_kept(do, conf, outputs):
    lines = ["size§price", *(f"{i % 9}§{i * 0.37:.2f}" for i in range(90))]
    (outputs / "signs.csv").write_text("\n".join(lines))
    code, printed = do("profile", f"path={outputs / 'signs.csv'}", "target=price", "trial_seconds=0")
    assert code == 1 and "the text seems to have one column only: source.separator=... says what" in printed
    assert (
        do("profile", f"path={outputs / 'signs.csv'}", "target=price", "source.separator=§", "trial_seconds=0")[0] == 0
    )
    assert yaml.safe_load((conf / "signs.yaml").read_text())["source"]["separator"] == "§"


def test_names_that_yaml_and_hydra_would_misread_are_kept(do, conf, outputs):
    names = [
        "a b",
        "c.d",
        'e"f',
        "g'h",
        "🐧",
        "n" * 300,
        "x: y",
        "#z",
        "{k}",
        "${w}",
        "[l]",
        "col,umn",
        "a=b",
        "yes",
        "null",
    ]
    draw = random.Random(1)
    values = {name: [draw.random() for _ in range(200)] for name in names}
    pl.DataFrame(values | {"y": [draw.choice("pq") for _ in range(200)]}).write_csv(outputs / "odd.csv")
    assert do("profile", f"path={outputs / 'odd.csv'}", "target=y", "trial_seconds=0")[0] == 0
    code, printed = do("train", "data=odd", "model=logistic")
    assert code == 0 and "rows x 15 columns" in printed, printed


def test_without_a_target_anomalies_are_looked_for(do, conf, table):
    code, printed = do("profile", f"path={table}", "target=null", "name=odd")
    assert code == 0, printed
    code, printed = do("data=odd", "columns.drop=[churned]", *QUICK)
    assert code == 0 and "are anomalies; there is no target to score them by" in printed and "is champion" in printed
    code, printed = do("data=odd", "columns.drop=[churned]", "seed=3", *QUICK)
    assert (
        "without a target nothing tells whether it is better than version 1" in printed and "is challenger" in printed
    )
    words = ["columns.target=churned", "registered_model=labelled", "model=local_outlier"]
    code, printed = do("data=odd", *words, *QUICK)
    assert code == 0 and "average_precision" in printed, printed


def test_a_file_that_the_line_cannot_load_is_not_kept(do, conf, outputs, monkeypatch):
    (outputs / "odd.csv").write_text("size,y\n" + "".join(f"{i % 9},{'ab'[i % 2]}\n" for i in range(90)))
    (conf / "odd.yaml").write_text("# mine\n")
    monkeypatch.setattr(profile.dataset_file, "text", lambda *_, **__: "# @package _global_\ncolumns: {target: x}\n")
    code, printed = do("profile", f"path={outputs / 'odd.csv'}", "target=y", "force=true", "trial_seconds=0")
    assert code == 1 and "conf/data/odd.yaml cannot be written: " in printed and "Traceback" not in printed, printed
    assert (conf / "odd.yaml").read_text() == "# mine\n"


def test_the_simplest_model_that_is_as_good_as_any_is_taken_and_suggestions_work_as_typed(do, conf, outputs):
    draw = random.Random(4)
    since = [date(2015, 1, 1) + timedelta(days=draw.randint(0, 2500)) for _ in range(200)]
    until = [day + timedelta(days=draw.randint(5, 900)) for day in since]
    size = [draw.gauss(0, 1) for _ in since]
    columns = {
        "my plan": [draw.choice(["Pro", "PRO", "basic"]) for _ in since],
        "zahlt": [draw.choice(["ja", "Nein", "nein"]) for _ in since],
        "since": [f"{day:%d.%m.%Y}" for day in since],
        "until": [f"{day:%d.%m.%Y}" for day in until],
        "size": size,
        "y": [3 * each + draw.gauss(0, 1) for each in size],
    }
    pl.DataFrame(columns).write_csv(outputs / "terms.csv")
    code, printed = do("profile", f"path={outputs / 'terms.csv'}", "target=y", "trial_seconds=60")
    score = r"0\.\d{4}"
    told = rf"model: ridge \(r2 in 5 folds of 200 rows: ridge {score}, boosting {score}, blend {score}\)"
    assert code == 0 and re.search(told, printed), printed
    assert "- override /model: ridge # r2 in 5 folds" in (conf / "terms.yaml").read_text()
    [run] = MlflowClient().search_runs(["0"], "tags.stage = 'profile'")
    lines = run.data.tags["mlflow.note.content"].splitlines()  # Markdown shows what is set in as it is
    assert run.info.run_name == "profile-terms" and all(line.startswith("    ") for line in lines if line)
    told = [line.removeprefix("worth a try: ").partition(": -P ") for line in printed.splitlines()]
    lines = [line for line in told if line[1]]
    assert [line[0] for line in lines] == [
        "my plan: 3 levels are 2 but for case and blanks",
        "zahlt: yes and no in words",
        "weekday of since",
        "weekday of until",
        "days from since to until",
    ]
    assert lines[2][2] == '"features.derive.since_weekday=EXTRACT(ISODOW FROM since)"'
    options = [shlex.split(line[2])[0] for line in lines]
    code, printed = do("train", "data=terms", *options)
    assert code == 0 and "expectations met" in printed and "rows x 9 columns" in printed, printed
