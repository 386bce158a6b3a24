"""One project as its people live with it: first champion, better, worse, by hand, back, scored, served."""

import json
import re
import urllib.request

import polars as pl
import pytest
from conftest import Project, served
from test_projects import NAME

pytestmark = pytest.mark.slow

MODEL = f"{NAME}-penguins"
QUICK = ["evaluation.importance_repeats=0", "evaluation.resamples=100", "tracking.sample_rows=0"]
NAMES = ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


def held(project: Project) -> dict[str, str]:
    """The version that holds each alias."""
    told = project.ask(f"import json; print(json.dumps(client.get_registered_model({MODEL!r}).aliases))")
    return {alias: str(version) for alias, version in json.loads(told).items()}


def tags(project: Project, version: int) -> dict[str, str]:
    return json.loads(
        project.ask(f"import json; print(json.dumps(client.get_model_version({MODEL!r}, '{version}').tags))")
    )


def test_from_candidate_to_champion_and_back(fresh):
    first = fresh.python("model=forest", "model.n_estimators=3", "model.max_depth=1", "gate.min_scores={}", *QUICK)
    assert first.code == 0 and f"{MODEL} version 1 is champion" in first.lines, first.printed
    assert "gate passed: roc_auc 0." in first.printed and "beats the dummy baseline's 0.5000" in first.printed
    assert held(fresh) == {"champion": "1"} and tags(fresh, 1)["gate"] == "passed"

    better = fresh.python("model=logistic", *QUICK)
    assert f"{MODEL} version 2 is champion" in better.lines, better.printed
    assert re.search("against the champion's 0.*, (better|no worse beyond chance)\n", better.printed), better.printed
    assert held(fresh) == {"champion": "2", "previous": "1"}

    worse = fresh.python("model=dummy", *QUICK)
    assert worse.code == 0 and f"{MODEL} version 3 is challenger" in worse.lines, worse.printed
    assert "gate failed: roc_auc 0.5000 does not beat the dummy baseline's 0.5000" in worse.printed
    assert held(fresh) == {"champion": "2", "previous": "1", "challenger": "3"}
    assert tags(fresh, 3)["gate"] == "failed" and "with 95% confidence), worse" in tags(fresh, 3)["reasons"]

    words = ["model=boosting", "model.max_iter=50", "promotion=manual", "gate.max_loss=1"]
    by_hand = fresh.python(*words, *QUICK)
    assert f"{MODEL} version 4 is challenger" in by_hand.lines and "-P version=4 -P approver=..." in by_hand.printed
    assert held(fresh)["champion"] == "2" and held(fresh)["challenger"] == "4"
    approved = fresh.mlflow("-e", "promote", "-P", "version=4", "-P", "approver=Ana O'Neil", "-P", "reason=a new shop")
    said = f"{MODEL} version 4 is champion, approved by Ana O'Neil; version 2 is previous"
    assert approved.code == 0 and said in approved.lines, approved.printed
    assert held(fresh) == {"champion": "4", "previous": "2"}
    assert {**tags(fresh, 4), "approver": "Ana O'Neil", "reason": "a new shop"} == tags(fresh, 4)
    again = fresh.python(*words, *QUICK)
    assert again.code == 0 and held(fresh) == {"champion": "4", "previous": "2"}, again.printed

    back = fresh.mlflow("-e", "rollback", "-P", "approver=bo", "-P", "reason=wrong prices")
    assert f"{MODEL} version 2 is champion again; version 4 was taken back by bo" in back.lines, back.printed
    assert held(fresh) == {"champion": "2", "previous": "1"}
    returned = fresh.python(*words[:2], "gate.max_loss=1", *QUICK)
    assert "this model was taken back on" in returned.printed and held(fresh)["champion"] == "2", returned.printed

    scored = fresh.mlflow("-e", "predict", "-P", "input=data/raw/penguins.csv", "-P", "output=scores.parquet")
    assert (
        scored.code == 0 and f"344 rows of penguins.csv scored by {MODEL} version 2 -> scores.parquet" in scored.printed
    )
    table = pl.read_parquet(fresh.path / "scores.parquet")
    about = pl.read_parquet_metadata(fresh.path / "scores.parquet")
    assert table.shape == (344, 11) and about["model.version"] == "2"

    words = ["mlflow", "models", "serve", "-m", f"models:/{MODEL}@champion", "--env-manager", "local"]
    with served(fresh, *words, "--port", "{port}", path="/ping") as address:
        split = {"columns": NAMES, "data": [list(row) for row in table.select(NAMES).rows()]}
        body = json.dumps({"dataframe_split": split}).encode()
        asked = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as answer:
            answers = json.load(answer)["predictions"]
    assert answers == table.select("prediction", "probability", "threshold").to_dicts()


def test_a_model_that_answers_otherwise_when_served_does_not_become_champion(fresh):
    assert fresh.python("model=logistic", *QUICK).code == 0
    code = fresh.path / fresh.package / "machinery/model/loader.py"
    text = code.read_text()
    assert text.count("_load_pyfunc = load ") == 1  # what MLflow's server calls
    flipped = '_load_pyfunc = lambda path: __import__("dataclasses").replace(load(path), positive="female")  # '
    code.write_text(text.replace("_load_pyfunc = load ", flipped))
    other = fresh.python("model=logistic", "model.C=0.5", "gate.serving=true", *QUICK)
    assert other.code == 0 and f"{MODEL} version 2 is challenger" in other.lines, other.printed
    assert "gate failed: " in other.printed and "when it is served, and" in other.printed, other.printed
    assert held(fresh) == {"champion": "1", "challenger": "2"}
