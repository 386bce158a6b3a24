import json
import logging
import resource
import time

import pandas as pd
import polars as pl
import pytest
from penguin_classifier.machinery.jobs.compare.labelled import _keyed
from penguin_classifier.machinery.serving.model_server.answer_log import AnswerLog

KINDS = {"id": "", "mass": "number", "alive": "boolean", "seen": "date", "island": "text"}
ABOUT = {"model": "penguins", "version": "3"}
ROWS = pd.DataFrame(
    {
        "id": [1, 2],
        "mass": [3700.5, None],
        "alive": [True, None],
        "seen": ["2026-11-30", "2026-11-30T10:00:00"],
        "island": ["Biscoe", None],
        "comment": ["nobody's", "business"],
    }
).astype({"alive": object})
ANSWERS = [{"prediction": "male", "probability": 0.75}, {"prediction": "female", "probability": 0.25}]


@pytest.fixture
def opened(tmp_path):
    """What opens a log in a folder; all are closed at the end."""
    logs = []

    def start(**more) -> AnswerLog:
        usual = {"kinds": KINDS, "about": ABOUT, "seconds": 3600, "megabytes": 1.0}
        logs.append(AnswerLog(tmp_path, **usual | more))
        return logs[-1]

    yield start
    for log in logs:
        log.close()


def add(log: AnswerLog, request_id: str = "one", rows: pd.DataFrame = ROWS) -> None:
    log.add(rows, ANSWERS[: len(rows)], request_id=request_id, seconds=0.004)


def files(folder) -> list[str]:
    return sorted(file.name for file in folder.glob("*.parquet"))


def read(folder) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(folder / name) for name in files(folder)], ignore_index=True)


def test_rows_are_kept_as_the_model_takes_them_with_what_it_answered(opened, tmp_path):
    log = opened()
    add(log)
    log.close()
    table = read(tmp_path)
    assert set(table) - set(KINDS) == {
        *("log.time", "log.request", "log.row", "log.latency_ms", "log.model", "log.version"),
        *("answer.prediction", "answer.probability"),
    }
    assert table["seen"].tolist() == [pd.Timestamp("2026-11-30"), pd.Timestamp("2026-11-30 10:00")]
    assert table["mass"][0] == 3700.5 and table["mass"].isna()[1] and table["alive"][0] and table["alive"][1] is None
    assert table["answer.probability"].tolist() == [0.75, 0.25] and table["log.row"].tolist() == [0, 1]
    assert (table["log.latency_ms"] == 4).all() and (table["log.version"] == "3").all()
    assert table["log.time"].dt.tz is not None and table["id"].tolist() == [1, 2]


def test_keys_of_two_kinds_become_text_and_answers_can_be_left_out(opened, tmp_path):
    log = opened(answers=False)
    add(log)
    add(log, rows=ROWS.head(1).assign(id="A-7"))
    log.close()
    table = read(tmp_path)
    assert table["id"].tolist() == ["1", "2", "A-7"] and not [name for name in table if name.startswith("answer.")]


def test_whole_numbers_stay_keys_where_some_are_missing(opened, tmp_path):
    log, many = opened(), 2**60 + 1
    add(log, rows=ROWS.assign(id=[7, None]))  # which pandas makes 7.0 and NaN of
    add(log, rows=ROWS.assign(id=[many, 0]))
    add(log, rows=ROWS.drop(columns="id"))
    log.close()
    table = pl.read_parquet(tmp_path / files(tmp_path)[0])
    assert table.schema["id"] == pl.Int64 and table["id"].to_list() == [7, None, many, 0, None, None]
    labels = pl.DataFrame({"id": [many, 0, 5]})
    assert _keyed(table, ["id"])["id"].to_list() == ["7", str(many), "0"]
    for each in (labels, labels.cast({"id": pl.String})):
        assert set(_keyed(table, ["id"]).join(_keyed(each, ["id"]), on="id")["id"]) == {str(many), "0"}
    assert _keyed(pl.DataFrame({"id": [7.0, None]}), ["id"])["id"].to_list() == ["7"]


def test_a_file_is_made_by_the_clock_while_the_log_goes_on(opened, tmp_path):
    log = opened(seconds=1)
    add(log, "one")
    time.sleep(2.2)
    assert len(files(tmp_path)) == 1, "nobody asked anything, and the second is over"
    add(log, "two")
    log.close()
    assert len(files(tmp_path)) == 2 and read(tmp_path)["log.request"].tolist() == ["one", "one", "two", "two"]


def test_a_full_disk_costs_lines_and_no_answer_and_is_said_once(opened, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    log = opened()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
        for number in range(20):
            add(log, f"{number}")
        log._closed = True
        log._turn()  # there is no room for a Parquet file either
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    first, second = caplog.messages
    assert "answers are not logged (" in first and "no file is made of the log of answers" in second
    add(log, "last")
    log.close()
    table = read(tmp_path)
    kept = set(table["log.request"])
    assert kept == {*map(str, range(len(kept) - 1)), "last"} and 2 < len(kept) < 10, "whole lines alone"
    assert caplog.messages[2:] == [f"answers are logged again: {2 * (21 - len(kept))} rows were not"]


def test_the_oldest_files_go_first(opened, tmp_path):
    for hour in ("01", "02", "03"):
        (tmp_path / f"2026-01-01T{hour}-00-00-a.parquet").write_bytes(bytes(10_000))
    log = opened(megabytes=0.02)
    add(log)
    log.close()
    left = files(tmp_path)
    assert left[0] == "2026-01-01T03-00-00-a.parquet" and len(left) == 2, left


def test_what_a_killed_process_left_is_made_a_file_of_and_a_damaged_line_costs_no_other(opened, tmp_path):
    about = {"time": "2024-01-01T10:00:00+00:00", "request": "left"}
    facts = {"log": about, "rows": {"id": [9], "mass": [1.0]}, "answers": ANSWERS[:1]}
    line = json.dumps(facts).encode()
    (tmp_path / ".2024-01-01T10-00-00-x.jsonl").write_bytes(b"\0\0\n" + line + b"\n" + line[:50])
    mine, other = opened(), opened()
    add(mine)
    other._turn()  # does not take what another process writes
    assert list(tmp_path.glob(f".{time.gmtime().tm_year}-*.jsonl")), "it is still written"
    mine.close()
    other.close()
    assert files(tmp_path)[0] == "2024-01-01T10-00-00-x.parquet"
    assert sorted(read(tmp_path)["log.request"]) == ["left", "one", "one"]
    assert not list(tmp_path.glob(".*"))
