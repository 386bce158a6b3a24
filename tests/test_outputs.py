"""platform.outputs as an address: projects in folders of their own, as on two machines, share only a bucket."""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
from conftest import SECRET, Project, bake
from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.slow

STAGES = ("ingest", "validate", "split", "train")
SMALL = ("model=logistic", "evaluation.resamples=20", "evaluation.importance_repeats=0")


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """A user's environment with an S3 store."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    app = server._server.app

    def answer(request, start):
        record = request["REQUEST_METHOD"] == "PUT" and request["PATH_INFO"].endswith("outcome.json")
        time.sleep(0.15 if record else 0)  # as over a network: time to be killed in
        return app(request, start)

    server._server.app = answer
    host, port = server.get_host_and_port()
    more = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    yield more | {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": SECRET}
    server.stop()


class Bucket:
    """A bucket and what is in it."""

    def __init__(self, server: dict[str, str], name: str) -> None:
        keys = {"aws_access_key_id": "writer", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=server["AWS_ENDPOINT_URL"], **keys)
        self.name, self.outputs = name, f"platform.outputs=s3://{name}/some/outputs"
        self.client.create_bucket(Bucket=name)

    def names(self, prefix: str = "some/outputs/") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def read(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=name)["Body"].read()

    def records(self, address: str = "some/outputs") -> dict[str, bytes]:
        """The records by stage; each names files that are there, with the bytes that were written."""
        records = {}
        for name in self.names(f"{address}/"):
            if name.endswith("/outcome.json"):
                text = self.read(name)
                record, place = json.loads(text), name.rpartition("/")[0]
                assert place == f"{address}/{record['stage']}/{record['key']}"
                for file, digest in record["files"].items():
                    assert hashlib.sha256(self.read(f"{place}/{digest}/{file}")).hexdigest() == digest
                assert record["stage"] not in records, "a second key for the same"
                records[record["stage"]] = text
        return records


@pytest.fixture
def bucket(server, request) -> Bucket:
    return Bucket(server, request.node.name.replace("_", "-")[5:50])


@pytest.fixture
def machines(wider, tmp_path) -> list[Project]:
    """The same project in two folders, each with an embedded store of its own."""
    first = bake(tmp_path / "first")
    return [Project(first, wider), Project(Path(shutil.copytree(first, tmp_path / "second")), wider)]


def copies(project: Project, bucket: Bucket) -> dict[str, bytes]:
    """The records of the copy that `project` keeps, by stage."""
    files = (project.path / "outputs/s3" / bucket.name / "some/outputs").glob("*/*/outcome.json")
    return {file.parts[-3]: file.read_bytes() for file in files}


def test_what_one_computes_another_reuses(machines, server, bucket):
    first, second = machines
    made = first.python(*SMALL, bucket.outputs, **server)
    assert made.code == 0 and "reused" not in made.printed, made.printed
    records = bucket.records()
    assert copies(first, bucket) == records and set(STAGES) < set(records)
    told = second.python("explain", *SMALL, bucket.outputs, **server)
    assert [line.split()[1:4] for line in told.lines[:5]] == [["up", "to", "date,"]] * 5, told.printed
    taken = second.python(*SMALL, bucket.outputs, **server)
    assert taken.code == 0 and taken.printed.count("reused from run") == 5, taken.printed
    assert f"{SECRET}" not in made.printed + taken.printed
    assert {stage: bucket.records()[stage] for stage in STAGES} == {stage: records[stage] for stage in STAGES}
    away = server | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}  # what is here is enough
    again = second.python(*SMALL, bucket.outputs, **away)
    assert again.code == 0 and "up to date" in again.printed, again.printed
    forced = second.python("train", *SMALL, "reuse=false", bucket.outputs, **server)
    assert forced.code == 0 and "reused" not in forced.printed, forced.printed
    assert bucket.records()["train"] == copies(second, bucket)["train"] != records["train"]


def test_what_is_damaged_there_is_made_again(machines, server, bucket):
    first, second = machines
    assert first.python("split", *SMALL, bucket.outputs, **server).code == 0
    [table] = [name for name in bucket.names("some/outputs/split") if name.endswith("table.parquet")]
    [record] = [name for name in bucket.names("some/outputs/ingest") if name.endswith("outcome.json")]
    whole, good = bucket.read(table), bucket.read(record)
    for name, text in {table: whole[:-1], record: b"{"}.items():
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=text)
    outside = json.loads(good) | {"files": {"../../../../outside": "0" * 64}}
    done = second.python("split", *SMALL, bucket.outputs, **server)
    assert done.code == 0 and done.printed.count("reused from run") == 1, done.printed  # validate
    assert bucket.read(table) == whole and set(bucket.records()) == {"ingest", "validate", "split"}
    bucket.client.put_object(Bucket=bucket.name, Key=record, Body=json.dumps(outside).encode())
    shutil.rmtree(second.path / "outputs")
    assert "would run" in second.python("explain", *SMALL, bucket.outputs, **server).lines[0]
    assert not list(second.path.rglob("outside"))


def test_two_at_once(machines, server, bucket):
    running = [(each, each.start("train", *SMALL, bucket.outputs, **server)) for each in machines]
    ended = [each.end(process) for each, process in running]
    assert [each.code for each in ended] == [0, 0], ended
    records = bucket.records()
    for each in machines:  # who was second took what the first had made
        mine = copies(each, bucket)
        assert {stage: mine[stage] for stage in STAGES} == {stage: records[stage] for stage in STAGES}


def test_a_kill_at_any_moment_leaves_nothing_that_is_trusted(machines, server, bucket):
    first, second = machines
    assert second.python("train", *SMALL, **server).code == 0
    [calm] = (second.path / "outputs/train").glob("*/outcome.json")
    hit, left = 0, 0
    for number in range(2 * len(STAGES)):
        turn, stage = divmod(number, len(STAGES))
        place, wanted = f"some/{turn}", STAGES[stage]
        words = ["train", *SMALL, f"platform.outputs=s3://{bucket.name}/{place}"]
        shutil.rmtree(first.path / "outputs", ignore_errors=True)  # a new machine each time
        process, until = first.start(*words, **server), time.monotonic() + 30
        while not bucket.names(f"{place}/{wanted}/") and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(random.Random(number).uniform(0, 0.2))
        os.kill(process, signal.SIGKILL)
        hit += first.end(process).code == -signal.SIGKILL
        left += wanted not in bucket.records(place)  # of files alone
        if wanted == STAGES[-1]:
            last = second.python(*words, **server)
            assert last.code == 0, last.printed
            kept, made = (json.loads(text) for text in (bucket.records(place)["train"], calm.read_bytes()))
            assert kept["outcome"]["facts"]["digest"] == made["outcome"]["facts"]["digest"]
    assert hit > 6 and left, (hit, left)


@pytest.fixture(scope="module")
def denying() -> Iterator[str]:
    """The address of a store that lets nobody in."""

    class Denying(BaseHTTPRequestHandler):
        do_GET = do_HEAD = do_PUT = lambda self: self.send_error(403)
        log_message = lambda *_: None  # noqa: E731

    server = ThreadingHTTPServer(("127.0.0.1", 0), Denying)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_what_is_said_where_there_is_no_such_place(default, wider, server, denying):
    project, began = Project(default.path, wider), time.monotonic()
    for address, where, code, sentence in (
        ("s3://absent-bucket/x", None, 2, "there is no such bucket"),
        ("s3://bucket/x", denying, 1, "these credentials may not read, write and list there"),
        ("s3://bucket/x", "http://127.0.0.1:1", 75, "cannot be reached"),
        ("ftp://bucket/x", None, 2, "it takes a folder, or an address that starts with s3://, gs://"),
        ("abfs://container/x", None, 2, "Account must be specified"),
    ):
        more = server | ({"AWS_ENDPOINT_URL": where} if where else {})
        done = project.python("split", f"platform.outputs={address}", **more)
        assert done.code == code and sentence in done.lines[-1] and address in done.lines[-1], done.printed
        assert "Traceback" not in done.printed and SECRET not in done.printed
    assert time.monotonic() - began < 60, "a user waits"
    nobody = {name: value for name, value in server.items() if "_ACCESS_KEY" not in name}
    nobody["AWS_METADATA_ENDPOINT"] = "http://127.0.0.1:1"
    done = project.python("split", "platform.outputs=s3://bucket/x", **nobody)
    assert done.code == 2 and "no credentials, and this machine no role" in done.lines[-1], done.printed
    done = default.python("split", "platform.outputs=s3://bucket/x", **server)
    assert done.code == 2 and "needs obstore: `uv sync --extra outputs`" in done.lines[-1], done.printed
