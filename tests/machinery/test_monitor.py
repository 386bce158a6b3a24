import http.server
import json
import threading
from pathlib import Path

import mlflow
import polars as pl
import pytest
from mlflow import MlflowClient
from penguin_classifier.machinery.jobs.monitor import alerts, reference
from penguin_classifier.machinery.mlflow import registry
from sklearn.linear_model import LogisticRegression

SMALL = ("data=penguins", "model=logistic", "evaluation.importance_repeats=0", "evaluation.resamples=50")
NAME = "penguin-classifier-penguins"
ROWS = pl.read_csv(
    Path(__file__).parents[1] / "data/raw/penguins.csv", null_values=["NA"], infer_schema_length=None
).sample(344, with_replacement=True, seed=1)


@pytest.fixture
def receiver(monkeypatch):
    """What a webhook is sent, as JSON; it answers with the status that is set."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(answer[0])

        def log_message(self, *_):
            pass

    status, answer = [200], [b"ok"]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"{address}/services/hidden-part")
    yield got, status, answer, address
    server.shutdown()


def test_quiet_drift_and_a_fallen_score(do, outputs, receiver):
    got, status, *_ = receiver
    assert do("register", *SMALL)[0] == 0
    Path("answers").mkdir()
    Path("answers/.2026-11-30T11-00-00-77d0e2c43f9c.jsonl").touch()  # a journal of a log of answers
    ROWS.drop("sex").write_parquet("answers/a.parquet")
    code, printed = do("monitor", "data=penguins", "input=answers")
    assert code == 0 and f"344 rows of answers against {NAME} version 1: no drift" in printed and not got
    assert "note: journals of the running hour are not read yet: 1" in printed, printed

    ROWS.drop("sex").with_columns(pl.col("bill_length_mm") / 25.4).write_csv("inches.csv")
    code, printed = do("monitor", "data=penguins", "input=inches.csv")
    told = "drift in bill_length_mm; its answers changed; 1 of 7 expectations failed"
    assert code == 3 and told in printed, printed
    assert got[0]["text"].startswith("344 rows of inches.csv against") and got[0]["version"] == "1"
    code, printed = do("monitor", "data=penguins", "input=inches.csv", "drift.ignore=[bill_length_mm]")
    assert code == 3 and "version 1: its answers changed\n" in printed, printed

    swap = pl.col("sex").replace({"male": "female", "female": "male"})
    ROWS.with_columns(swap).write_csv("late.csv")
    status[0] = 500
    code, printed = do("monitor", "data=penguins", "input=late.csv")
    assert code == 3 and "roc_auc fell" in printed and "rows with labels" in printed
    assert "note: the alert could not be sent to 127.0.0.1 (status 500)" in printed and "hidden-part" not in printed

    client = MlflowClient()
    line = client.get_experiment_by_name("penguin-classifier-monitoring")
    [chart] = client.search_runs([line.experiment_id])
    assert chart.info.run_name == NAME and chart.info.status == "FINISHED"
    points = client.get_metric_history(chart.info.run_id, "distance/bill_length_mm")
    assert [point.step for point in points] == [1, 2, 4] and points[1].value > 0.9 > points[0].value
    last = client.search_runs(["0"])[0]
    assert last.data.tags["monitor"] == "alarm" and last.data.tags["drifted"] == "roc_auc"
    files = {file.path for file in client.list_artifacts(last.info.run_id)}
    assert {"monitor.html", "expectations.html", "drift.csv", "drift.png", "moved_1.png"} <= files

    ROWS.drop("sex").with_columns(pl.col("island").replace({"Biscoe": "Mars"})).write_csv("mars.csv")
    for words in ([], ["expectations=[]"]):
        printed = do("monitor", "data=penguins", "input=mars.csv", *words)[1]
        assert printed.count("Mars") == 1, printed


def test_the_source_itself_is_scored_by_rows_that_were_kept_from_the_model(do):
    do("register", *SMALL)
    code, printed = do("monitor", "data=penguins")
    assert code == 0 and "344 rows of the source against" in printed
    assert "on 71 rows with labels" in printed  # those of the side test, and none that trained it


def test_what_cannot_be_watched_is_a_sentence_and_an_alert(do, receiver):
    got, *_ = receiver
    code, printed = do("monitor", "data=penguins", "input=nowhere.csv")
    assert code == 1 and f"{NAME} has no champion" in printed
    do("register", *SMALL)
    ROWS.drop("island").write_csv("less.csv")
    code, printed = do("monitor", "data=penguins", "input=less.csv")
    assert code == 1 and "less.csv has no column island" in printed
    assert got[-1]["text"].startswith(f"{NAME} could not be watched: less.csv has no column island")
    code, printed = do("monitor", "data=penguins", "drift.ignore=[bill]")
    assert code == 2 and "drift.ignore=bill:" in printed
    assert do("monitor", "data=penguins", "drift.alarm_rate=1")[0] == 2
    ROWS.with_columns(sex=pl.lit("1")).write_csv("other.csv")
    assert "not scored: 1 is no class of" in do("monitor", "data=penguins", "input=other.csv")[1]
    late = ROWS.with_columns(sex=pl.when(pl.int_range(pl.len()) < 40).then("sex"))  # most labels are to come
    late.write_csv("late.csv")
    code, printed = do("monitor", "data=penguins", "input=late.csv")
    assert code == 0 and "rows with labels" in printed, printed
    ROWS.head(3).write_csv("few.csv")
    code, printed = do("monitor", "data=penguins", "input=few.csv")
    assert code == 0 and "3 rows are few" in printed


def test_a_champion_of_somebody_else_is_said_to_be_one(do, receiver):
    rows = ROWS.select("bill_length_mm", "bill_depth_mm", "sex").drop_nulls().to_pandas()
    theirs = LogisticRegression(max_iter=1000).fit(rows[["bill_length_mm", "bill_depth_mm"]], rows["sex"])
    with mlflow.start_run():
        mlflow.sklearn.log_model(theirs, name="mine", registered_model_name="mine", serialization_format="skops")
    MlflowClient().set_registered_model_alias("mine", "champion", "1")
    ROWS.write_csv("new.csv")
    for words in (["predict", "output=scores.csv"], ["monitor"]):
        code, printed = do(*words, "data=penguins", "registered_model=mine", "input=new.csv")
        assert code == 1 and "was not registered by this project: which" in printed, printed
    assert "mine could not be watched: mine version 1 was not registered" in receiver[0][-1]["text"]


def test_a_server_is_asked_for_what_the_model_answers(do, receiver):
    _, status, answer, address = receiver
    do("register", *SMALL)
    known = reference.load(registry.version(NAME, "1"))["examples"]["answers"]
    answer[0] = json.dumps({"predictions": known}).encode()
    code, printed = do("monitor", "data=penguins", f"endpoint={address}", "requests=4")
    assert code == 0 and f"4 of 4 answers are {NAME} version 1's" in printed
    answer[0] = json.dumps({"predictions": [{**each, "probability": 0.5} for each in known]}).encode()
    code, printed = do("monitor", "data=penguins", f"endpoint={address}/invocations", "requests=4")
    assert code == 3 and "4 of 4 answers are other than" in printed
    status[0] = 503
    code, printed = do("monitor", "data=penguins", f"endpoint={address}", "requests=4")
    assert code == 3 and "4 of 4 requests are not answered: status 503" in printed
    answer[0], status[0] = b"<html>", 200
    assert "the answer is not that of a model" in do("monitor", "data=penguins", f"endpoint={address}")[1]
    for words in (["endpoint=here"], [f"endpoint={address}", "input=x.csv"], [f"endpoint={address}", "requests=0"]):
        assert do("monitor", "data=penguins", *words)[0] == 2
    line = MlflowClient().get_experiment_by_name("penguin-classifier-monitoring")
    [chart] = MlflowClient().search_runs([line.experiment_id])
    assert chart.data.metrics["endpoint/right"] == 0 and "endpoint/latency_p95_ms" in chart.data.metrics


def test_an_alert_that_cannot_be_sent_is_a_sentence():
    assert alerts.send("http://127.0.0.1:9/a/b", "x") == "the alert could not be sent to 127.0.0.1 (ConnectionError)"
    assert alerts.send("nonsense", "x") == "the alert could not be sent to ALERT_WEBHOOK_URL (MissingSchema)"
