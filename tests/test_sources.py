"""Where users' tables lie: files of every kind, databases, object stores, DVC; really read, from `profile` on."""

import json
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import polars as pl
import pytest
from conftest import SECRET, Project, holding
from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.slow

ROWS = 240
TABLE = pl.DataFrame(
    {
        "customer_id": [f"c{at:04}" for at in range(ROWS)],
        "amount": [at * 7 % 501 + at % 4 / 4 for at in range(ROWS)],
        "city": [("Zürich", "Genève", "Basel")[at // 2 % 3] for at in range(ROWS)],
        "since": [date(2024, 1, 1) + timedelta(days=at * 5 % 700) for at in range(ROWS)],
        "churned": ["yes" if at % 5 < 2 else "no" for at in range(ROWS)],
    }
)
QUERY = "query=SELECT * FROM customers"
URL = "${oc.env:DATABASE_URL}"


def take(project: Project, path: object, *words: str, to: str = "split", **more: str) -> dict:
    """What `ingest` says of the table at `path`: described by `profile`, then brought up to the stage `to`."""
    told = project.python("profile", f"path={path}", "target=churned", "name=trial", "trial_seconds=0", *words, **more)
    assert told.code == 0 and "wrote conf/data/trial.yaml" in told.printed, told.printed
    done = project.python(to, "data=trial", "model=logistic", "evaluation.importance_repeats=0", **more)
    assert done.code == 0 and re.search(r"^split +\d+ train, \d+ test rows", done.printed, re.M), done.printed
    assert f"ingest    {ROWS} rows x {TABLE.width} columns" in done.printed, done.printed
    facts = ingested(project)
    assert facts["rows"] == ROWS and set(facts["columns"]) == set(TABLE.columns)
    assert facts["columns"]["amount"] == "Float64" and facts["columns"]["since"].startswith("Date"), facts
    assert SECRET not in told.printed + done.printed and not holding(project, SECRET)
    return facts


def ingested(project: Project) -> dict:
    """The facts of the newest table in the store."""
    [*_, newest] = sorted(project.path.glob("outputs/ingest/*/outcome.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(newest.read_text())["outcome"]["facts"]


def refuse(project: Project, *words: str, **more: str) -> str:
    """The one sentence that a command ends with; its exit code says that it failed, and of what kind that is."""
    done = project.python(*words, **more)
    assert done.code in (1, 2, 75) and len(done.lines) == 1 and "Traceback" not in done.printed, done.printed
    assert SECRET not in done.printed and not holding(project, SECRET), done.printed
    return done.printed


# --- Files


def german(path: Path) -> None:
    lines = TABLE.with_columns(pl.col("amount").round(2)).write_csv(separator=";", decimal_comma=True)
    path.write_bytes(lines.encode("latin-1"))


def folder(path: Path) -> None:
    path.mkdir()
    TABLE.head(100).write_parquet(path / "a.parquet")
    TABLE.tail(-100).write_parquet(path / "b.parquet")


def sqlite(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE customers (customer_id TEXT, amount REAL, city TEXT, since TEXT, churned TEXT)")
        base.executemany("INSERT INTO customers VALUES (?, ?, ?, ?, ?)", TABLE.cast({"since": pl.String}).rows())


KINDS: dict[str, Callable[[Path], object]] = {
    "plain.csv": TABLE.write_csv,
    "german.csv": german,
    "zipped.csv.gz": lambda path: TABLE.write_csv(path, compression="gzip"),
    "zipped.csv.zst": lambda path: TABLE.write_csv(path, compression="zstd"),
    "one.parquet": TABLE.write_parquet,
    "folder": folder,
    "hive": lambda path: TABLE.write_parquet(path, partition_by="city"),
    "lines.jsonl": TABLE.write_ndjson,
    "book.xlsx": TABLE.write_excel,
    "table.arrow": TABLE.write_ipc,
    "some.db": sqlite,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file(fresh, name):
    KINDS[name](fresh.path / "data/raw" / name)
    words = [QUERY] if name == "some.db" else []
    take(fresh, f"data/raw/{name}", *words, to="register" if name == "plain.csv" else "split")
    made = pl.read_parquet(next(fresh.path.glob("outputs/ingest/*/*.parquet")))
    assert made["amount"].sum() == pytest.approx(TABLE["amount"].sum()), "numbers are read as they are"
    assert set(made["city"]) == set(TABLE["city"]), "letters and the partition's values are read as they are"
    source = (fresh.path / "conf/data/trial.yaml").read_text().partition("source:")[2]
    assert str(fresh.path) not in source, "a path in the project is relative to it"


# --- Databases


def test_postgresql_and_its_password(fresh, wider, postgres):
    project = Project(fresh.path, wider)
    fill = (
        "import os, polars, sqlalchemy; base = sqlalchemy.create_engine(os.environ['DATABASE_URL'])\n"
        "polars.read_parquet('table.parquet').write_database('customers', base)"
    )
    TABLE.write_parquet(fresh.path / "table.parquet")
    made = project.fork("-c", fill, DATABASE_URL=postgres)
    assert made.code == 0, made.printed
    take(project, URL, QUERY, DATABASE_URL=postgres)
    assert URL in (fresh.path / "conf/data/trial.yaml").read_text()
    again = project.python("split", "data=trial", DATABASE_URL=postgres)
    assert re.search(r"^split .* \(reused from run \w{8}\)$", again.printed, re.M), "the same rows are the same table"


@pytest.mark.parametrize("words", [[], ["query=SELECT * FROM absent"], ["query=SELEC 1"]])
@pytest.mark.parametrize("base", ["sqlite", "postgresql"])
def test_a_query_that_fails(fresh, wider, request, base, words):
    path, more = "some.db", {}
    sqlite(fresh.path / path)
    if base == "postgresql":
        path, more = URL, {"DATABASE_URL": request.getfixturevalue("postgres")}
    said = refuse(Project(fresh.path, wider), "profile", f"path={path}", "target=churned", *words, **more)
    assert ("absent" if "absent" in "".join(words) else "syntax" if words else "query='SELECT") in said


def test_a_database_that_does_not_let_in(fresh, wider, postgres):
    project = Project(fresh.path, wider)
    words = ["profile", f"path={URL}", "target=churned", QUERY, "trial_seconds=0"]
    said = refuse(project, *words, DATABASE_URL=postgres.replace("reader", "stranger"))
    assert 'password authentication failed for user "stranger"' in said
    bare = f"{postgres.partition('@')[0]}@127.0.0.1:1/postgres"
    assert "refused" in refuse(project, *words, DATABASE_URL=bare)


def test_scores_go_into_a_table_and_its_password_nowhere(fresh, wider, postgres):
    project = Project(fresh.path, wider)
    quick = ["model=logistic", "evaluation.importance_repeats=0", "evaluation.resamples=0"]
    assert project.python(*quick).code == 0
    words = ["predict", "input=data/raw/penguins.csv", f"output={URL}", "table=scores"]
    for _ in range(2):  # the second takes the first's place
        done = project.python(*words, DATABASE_URL=postgres)
        assert done.code == 0 and "penguins version 1 -> table scores" in done.printed, done.printed
    count = "SELECT count(*) AS rows, min(probability) AS least FROM scores"
    ask = (
        f"import os, polars, sqlalchemy; base = sqlalchemy.create_engine(os.environ['DATABASE_URL'])\n"
        f"print(polars.read_database('{count}', base).rows(), "
        "dict(polars.read_database('SELECT * FROM scores_metadata', base).rows())['model.version'])"
    )
    told = project.fork("-c", ask, DATABASE_URL=postgres)
    assert re.fullmatch(r"\[\(344, 0\.\d+\)\] 1", told.lines[-1]), told.printed
    assert not holding(project, SECRET)


def test_a_password_among_an_address_s_arguments(fresh, wider, postgres):
    address = f"{postgres.replace(f':{SECRET}', '')}?password={SECRET}"
    query = "query=SELECT i % 13 AS amount, i % 2 AS churned FROM generate_series(1, 100) AS i"
    project = Project(fresh.path, wider)
    done = project.python("profile", f"path={URL}", "target=churned", query, "trial_seconds=0", DATABASE_URL=address)
    assert done.code == 0 and SECRET not in done.printed and not holding(project, SECRET), done.printed


# --- Object stores


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A user's environment with a store of one bucket, `bucket`, with a CSV and a Parquet file."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    more = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    more |= {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": SECRET}
    keys = {"aws_access_key_id": "reader", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=more["AWS_ENDPOINT_URL"], **keys)
    client.create_bucket(Bucket="bucket")
    for name, write in {"table.csv": TABLE.write_csv, "table.parquet": TABLE.write_parquet}.items():
        with tempfile.NamedTemporaryFile() as file:
            write(file.name)
            client.upload_file(file.name, "bucket", name)
    yield more
    server.stop()


@pytest.fixture(scope="module")
def denying() -> Iterator[str]:
    """The address of a store that lets nobody in."""

    class Denying(BaseHTTPRequestHandler):
        do_GET = do_HEAD = lambda self: self.send_error(403)
        log_message = lambda *_: None  # noqa: E731

    server = ThreadingHTTPServer(("127.0.0.1", 0), Denying)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_an_object_store_and_its_key(fresh, s3, name):
    take(fresh, f"s3://bucket/{name}", **s3)


@pytest.mark.parametrize(
    "case, name",
    [
        ("no object", "table.parquet"),
        ("no bucket", "table.csv"),
        ("denied", "table.parquet"),
        ("nobody there", "table.csv"),
    ],
)
def test_an_object_store_that_gives_nothing(fresh, s3, denying, case, name):
    address = {"denied": denying, "nobody there": "http://127.0.0.1:1"}.get(case, s3["AWS_ENDPOINT_URL"])
    path = f"s3://{'absent' if case == 'no bucket' else 'bucket'}/{'absent-' if case == 'no object' else ''}{name}"
    began = time.monotonic()
    said = refuse(fresh, "profile", f"path={path}", "target=churned", **{**s3, "AWS_ENDPOINT_URL": address})
    assert path in said or name in said
    assert time.monotonic() - began < 60, "a user waits"


# --- DVC


def test_revisions_of_a_file_that_dvc_tracks(fresh, wider, tmp_path):
    project, repo = Project(fresh.path, wider), tmp_path / "tracked"
    repo.mkdir()

    def run(*words: str) -> None:
        done = project.run(*words, folder=repo)
        assert done.code == 0, done.printed

    run("git", "init", "--quiet")
    run("git", "config", "user.name", "Me")
    run("git", "config", "user.email", "me@example.com")
    run("dvc", "init", "--quiet")
    run("dvc", "remote", "add", "--quiet", "-d", "store", str(tmp_path / "remote"))
    for version, rows in {"v1": 200, "v2": 220}.items():
        TABLE.head(rows).write_csv(repo / "data.csv")
        run("dvc", "add", "--quiet", "data.csv")
        run("git", "add", ".")
        run("git", "commit", "--quiet", "-m", version)
        run("git", "tag", version)
    run("dvc", "push", "--quiet", "--all-tags")
    shutil.rmtree(repo / ".dvc/cache")  # as in somebody's new clone
    (repo / "data.csv").write_text("something else\n1\n")

    TABLE.write_csv(fresh.path / "trial.csv")
    told = project.python("profile", "path=trial.csv", "target=churned", "trial_seconds=0")
    assert told.code == 0, told.printed
    file = fresh.path / "conf/data/trial.yaml"
    source = (
        f"source:\n  _target_: {project.package}.sources.dvc\n  path: data.csv\n  repo: {repo}\n  rev: v1\n"
        "  read: {_target_: polars.read_csv, _partial_: true}\n"
    )
    file.write_text(re.sub(r"(?m)^source:\n(  .*\n)+", source, file.read_text()))
    counts, digests = [], set()
    for version in ("v1", "v2", "v1"):
        done = project.python("split", "data=trial", f"source.rev={version}", "expectations=[]")
        assert done.code == 0, done.printed
        counts.append(int(re.search(r"ingest +(\d+) rows x 5 columns", done.printed)[1]))
        digests.add(ingested(project)["digest"])
    assert counts == [200, 220, 200] and len(digests) == 2
    assert "v3" in refuse(project, "ingest", "data=trial", "source.rev=v3")


# --- Tables with versions

DELTA = """
import sys
import deltalake, polars

match sys.argv[1]:
    case "append":
        table = polars.read_parquet("table.parquet")
        table.with_columns(polars.col("amount").cast(polars.Decimal(12, 2))).write_delta("customers", mode="append")
    case "delete":  # the file of what was deleted stays where it is
        deltalake.DeltaTable("customers").delete("customer_id = 'c0007'")
    case "scores":
        table = deltalake.DeltaTable("scores.delta")
        told = [(each["operation"], each.get("model.version")) for each in table.history()]
        print(told, *(polars.read_delta("scores.delta", version=each).height for each in (0, None)))
"""
ICEBERG = """
import polars
from pyiceberg.catalog import load_catalog

table = polars.read_parquet("table.parquet").with_columns(polars.col("amount").cast(polars.Decimal(12, 2))).to_arrow()
catalog = load_catalog("shop")
catalog.create_namespace_if_not_exists("sales")
made = catalog.create_table_if_not_exists("sales.customers", schema=table.schema)
made.append(table)
print(made.location(), made.current_snapshot().snapshot_id)
"""
QUICKLY = ["data=trial", "model=logistic", "evaluation.importance_repeats=0", "leakage.allow=[rows]", "expectations=[]"]


@pytest.fixture
def lake(fresh, wider) -> Project:
    """A project whose environment has the libraries of Delta and Iceberg."""
    TABLE.write_parquet(fresh.path / "table.parquet")
    return Project(fresh.path, wider)


def told(project: Project, code: str, *words: str, **more: str) -> str:
    done = project.run("python", "-c", code, *words, **more)
    assert done.code == 0, done.printed
    return done.lines[-1] if done.lines else ""


def test_versions_of_a_delta_table(lake):
    told(lake, DELTA, "append")
    told(lake, DELTA, "delete")
    first = take(lake, "customers", "source.version=0")
    assert len(list(lake.path.glob("customers/*.parquet"))) == 2
    newest = lake.python("split", *QUICKLY, "source.version=null")
    assert f"ingest    {ROWS - 1} rows" in newest.printed, "a row that was deleted is not read"
    assert "split is up to date" in lake.python("split", *QUICKLY, "source.version=null").printed
    told(lake, DELTA, "append")
    again = lake.python("split", *QUICKLY, "source.version=1")
    assert f"ingest    {ROWS - 1} rows" in again.printed, "what is written later is another version"
    longer = lake.python("split", *QUICKLY, "source.version=null")
    assert f"ingest    {2 * ROWS - 1} rows" in longer.printed, longer.printed
    assert ingested(lake)["digest"] != first["digest"]

    assert lake.python(*QUICKLY, "gate.min_scores={}", "evaluation.resamples=0").code == 0
    for wanted in (r"\[\('WRITE', '1'\)\] 479 479", r"\[\('WRITE', '1'\), \('WRITE', '1'\)\] 479 240"):
        given = "customers" if "240" not in wanted else "table.parquet"
        done = lake.python("predict", "data=trial", f"input={given}", "output=scores.delta", "version=1")
        assert done.code == 0 and "-> scores.delta" in done.printed, done.printed
        assert re.fullmatch(wanted, told(lake, DELTA, "scores"))
    waits = TABLE.with_columns(wait=pl.duration(days=1))
    waits.write_parquet(lake.path / "waits.parquet")
    odd = ["predict", "data=trial", "input=waits.parquet", "output=scores.delta", "version=1", "columns.key=[]"]
    refused = refuse(lake, *odd)
    assert "output=scores.delta cannot be written: " in refused, refused
    assert re.fullmatch(wanted, told(lake, DELTA, "scores")), "it is as it was"
    refused = refuse(lake, "split", "data=trial", "source.version=17")
    assert "cannot be read" in refused, refused


def test_a_delta_table_in_a_bucket(lake, s3):
    write = "import polars; polars.read_parquet('table.parquet').write_delta('s3://bucket/lake', mode='append')"
    told(lake, write, **s3)
    columns = "columns: {target: churned, key: [customer_id]}"
    source = "source: {_target_: polars.scan_delta, source: s3://bucket/lake}"
    text = f"# @package _global_\ndefaults: [{{/task: binary}}]\n{source}\n{columns}\n"
    (lake.path / "conf/data/trial.yaml").write_text(text)
    first = lake.python("split", *QUICKLY, **s3)
    assert f"ingest    {ROWS} rows" in first.printed, first.printed
    assert "split is up to date" in lake.python("split", *QUICKLY, **s3).printed, "its version tells that"
    told(lake, write, **s3)
    assert f"ingest    {2 * ROWS} rows" in lake.python("split", *QUICKLY, **s3).printed


def test_snapshots_of_an_iceberg_table(lake):
    stated = {"TYPE": "sql", "URI": f"sqlite:///{lake.path}/catalog.db", "WAREHOUSE": f"file://{lake.path}/warehouse"}
    catalog = {f"PYICEBERG_CATALOG__SHOP__{name}": value for name, value in stated.items()}
    place, first = told(lake, ICEBERG, **catalog).removeprefix("file://").split()
    take(lake, place)
    told(lake, ICEBERG, **catalog)
    longer = lake.python("split", *QUICKLY)
    assert f"ingest    {2 * ROWS} rows" in longer.printed, longer.printed
    again = lake.python("split", *QUICKLY, f"+source.snapshot_id={first}")
    assert f"ingest    {ROWS} rows" in again.printed, again.printed
    words = ["source.source=sales.customers", "+source.catalog=shop"]
    named = lake.python("split", *QUICKLY, *words, **catalog)
    assert f"ingest    {2 * ROWS} rows" in named.printed and "Warning" not in named.printed, named.printed
    assert "split is up to date" in lake.python("split", *QUICKLY, *words, **catalog).printed


def test_what_reads_tables_with_versions_is_said_where_it_is_missing(lake, fresh):
    told(lake, DELTA, "append")
    said = refuse(fresh, "profile", "path=customers", "target=churned")
    assert "uv add deltalake" in said, said
    (fresh.path / "ice/metadata").mkdir(parents=True)
    (fresh.path / "ice/metadata/v1.metadata.json").write_text("{}")
    said = refuse(fresh, "profile", "path=ice", "target=churned")
    assert "uv add pyiceberg" in said, said
    said = refuse(fresh, "predict", "input=data/raw/penguins.csv", "output=scores.delta")
    assert "output=scores.delta needs deltalake: `uv sync --extra delta`" in said, said
