"""What a command says of a store that is away, closed, damaged, or not the one that the environment seems to name."""

import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mlflow import MlflowClient
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from penguin_classifier.machinery import cli
from penguin_classifier.machinery.mlflow import registry, stores, tracking, version_tags
from penguin_classifier.machinery.pipeline import provenance

AWAY = "http://127.0.0.1:9"


def certificate():
    """A certificate of localhost that is signed by itself, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, until)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.sign(key, hashes.SHA256()).public_bytes(pem) + private


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers what `Handler.status` says, and keeps the paths."""

    status, asked = 200, []

    def do_GET(self):
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server whose address is answered by Handler."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(Handler, "asked", [])
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    "variable, value, sentence",
    [
        ("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef", "is no run of sqlite:"),
        ("MLFLOW_RUN_ID", "no id", "is no run of sqlite:"),
        ("MLFLOW_EXPERIMENT_ID", "777", "is no experiment of sqlite:"),
        ("MLFLOW_EXPERIMENT_ID", "seven", "is no experiment of sqlite:"),
        ("MLFLOW_EXPERIMENT_NAME", "gone", "is an experiment that was deleted"),
        ("MLFLOW_REGISTRY_URI", AWAY, f"the registry {AWAY} does not answer"),
        ("MLFLOW_REGISTRY_URI", "nonsense://x", "MLFLOW_REGISTRY_URI=nonsense://x: "),
        ("MLFLOW_TRACKING_URI", AWAY, f"the tracking server {AWAY} does not answer"),
    ],
)
def test_what_the_environment_holds_is_said_by_its_name(do, monkeypatch, variable, value, sentence):
    client = MlflowClient()
    client.delete_experiment(client.create_experiment("gone"))
    monkeypatch.setenv(variable, value)
    mlflow.set_registry_uri(None)
    code, printed = do("split", "data=penguins")
    assert code in (1, 2, 75) and variable in printed and sentence in printed, printed
    assert len(printed.splitlines()) == 1, "a sentence before anything is done"


@pytest.mark.parametrize(
    "bucket, needs",
    [
        ("s3://runs", "boto3: `uv sync --extra s3`"),
        ("gs://runs", "google-cloud-storage: `uv sync --extra gs`"),
        ("wasbs://runs@ours", "azure-storage-blob: `uv sync --extra azure`"),
        ("abfss://runs@ours", "azure-storage-file-datalake: `uv sync --extra azure`"),
    ],
)
def test_files_in_a_bucket_take_its_library(do, monkeypatch, bucket, needs):
    MlflowClient().create_experiment("far", artifact_location=f"{bucket}/here")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "far")
    monkeypatch.setitem(sys.modules, "boto3", None)  # it may be installed here
    code, printed = do("split", "data=penguins")
    assert code == 2 and f"{bucket}, where sqlite:" in printed and f"needs {needs} installs it here" in printed, printed
    assert len(printed.splitlines()) == 1, "a sentence before anything is done"


def test_a_run_that_has_ended_is_not_written_over(do, monkeypatch):
    do("ingest", "data=penguins")
    run = MlflowClient().search_runs(["0"], "tags.stage = 'ingest' and tags.machine.cores != ''")[0].info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    for words in (["ingest"], ["split"]):  # nothing to do, and something
        code, printed = do(*words, "data=penguins")
        assert code == 2 and f"MLFLOW_RUN_ID={run} is a run that has ended" in printed and "unset it" in printed


def test_a_server_is_asked_through_the_proxy(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.corp.example:5000/")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert stores.silence() is None and Handler.asked == ["GET http://mlflow.corp.example:5000/health"]
    monkeypatch.setattr(Handler, "status", 503)
    assert "http://mlflow.corp.example:5000 does not answer (status 503)" in stores.silence()
    monkeypatch.setenv("http_proxy", AWAY)
    assert "does not answer through the proxy that HTTP_PROXY or HTTPS_PROXY names" in stores.silence()
    monkeypatch.setenv("no_proxy", "corp.example")
    assert "HTTP_PROXY" not in stores.silence(), "asked itself, and by a name that nobody has"


def test_a_certificate_that_is_not_trusted_is_said(server, monkeypatch, tmp_path):
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://ana:hidden@localhost:{server.server_port}")
    said = stores.silence()
    assert "not trusted here (self-signed certificate)" in said and "MLFLOW_TRACKING_SERVER_CERT_PATH" in said
    assert "hidden" not in said
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "none.pem"))
    assert "not trusted without" in stores.silence() and "none.pem, which cannot be read" in stores.silence()
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(file))
    assert stores.silence() is None


def test_files_that_a_server_does_not_take_are_a_sentence(outputs, server, monkeypatch):
    """After the attempts that MLflow is allowed; where an error came from is not uploaded by as many again."""
    monkeypatch.setattr(Handler, "status", 500)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    place = f"http://127.0.0.1:{server.server_port}/api/2.0/mlflow-artifacts/artifacts/0/x"
    where = MlflowClient().create_experiment("elsewhere", artifact_location=place)
    mlflow.set_experiment(experiment_id=where)
    with pytest.raises(Exception, match="mlflow-artifacts") as raised, tracking.run("a", tags={}):
        mlflow.log_text("x", "x.txt")
    assert len(Handler.asked) == 3, Handler.asked
    said = str(tracking.as_project_error(raised.value, False))
    assert "the server does not take or give the files of runs (500 error responses)" in said and "\n" not in said
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" in tracking.RETRIES and tracking.os.environ[tracking.RETRIES] == "1"


def damaged(file: Path, how: str) -> None:
    """Makes of the embedded store in `file` what a crash, a full disk or a wrong copy makes of it."""
    if how == "half of it":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "a text":
        file.write_text("no database")
    else:
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize("how", ["half of it", "a text", "a folder"])
def test_a_store_that_is_damaged_is_a_sentence(do, outputs, how):
    damaged(outputs / "mlflow.db", how)
    for word in ("split", "explain", "prune"):
        code, printed = do(word, "data=penguins")
        assert code == 1 and "mlflow.db is damaged: put back a copy" in printed and len(printed.splitlines()) == 1, (
            word,
            printed,
        )


WRITER = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("CREATE TABLE notes (text)")
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN")
for _ in range(50):
    store.execute("INSERT INTO notes VALUES (?)", ("x" * 5000,))
os._exit(9)
"""


def test_what_a_killed_process_was_writing_into_a_store_is_undone(tmp_path, monkeypatch):
    file = tmp_path / "mlflow.db"
    assert subprocess.run([sys.executable, "-c", WRITER, str(file)]).returncode == 9
    assert (tmp_path / "mlflow.db-journal").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    assert stores.check_server(server=False) == f"sqlite:///{file}"
    assert not (tmp_path / "mlflow.db-journal").exists()


def test_a_note_of_another_shape_is_made_anew(do, outputs):
    assert do("ingest", "data=penguins")[0] == 0
    for name in ("notes.json", "code.json", "ingest/*/outcome.json"):
        for text in ("[]", '{"digests": 1, "files": {}, "maker": 3, "modules": {"a": 1}}', "\x00"):
            [file] = (outputs / "outputs").glob(name)
            file.write_text(text)
            code, printed = do("ingest", "data=penguins")
            assert code == 0 and "Error" not in printed, (name, text, printed)


def test_tags_that_somebody_else_wrote_are_none_of_ours():
    whole = {"version": "3", "digest": "8c1f"}
    for text in ("", "3", "[]", "null", "{}", '{"version": "3"}', "\x00"):
        assert version_tags.from_tags({"against": text, "trained": text, "scores": text}).against is None
        assert version_tags.from_tags({"trained": text, "scores": text}) == version_tags.VersionTags()
    assert version_tags.from_tags({"against": json.dumps(whole)}).against == whole
    scores = version_tags.ScoresRecord({"f1": 0.5}, [None, 0.7], 71, 0.95)
    written = version_tags.to_tags(scores=scores)
    assert version_tags.from_tags(written).scores == scores
    bent = json.dumps({**json.loads(written["scores"]), "test": ["f1"]})
    assert version_tags.from_tags({"scores": bent}).scores is None


def test_a_user_without_a_name_has_a_number(monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "GITHUB_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    for error in (KeyError, OSError):

        def nobody(error=error):
            raise error("uid not found")

        monkeypatch.setattr(provenance.getpass, "getuser", nobody)
        assert provenance.user().startswith("uid ")


def test_outputs_may_serve_several_stores(do, outputs, store, monkeypatch):
    """A run that is in another store is not linked to; the lineage says where each is."""
    do("ingest", "data=penguins")
    first = mlflow.get_tracking_uri()
    shutil.copy(store, outputs / "other.db")
    other = f"sqlite:///{outputs / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    _, printed = do("ingest", "data=penguins")
    assert "reused" in printed
    [run] = MlflowClient().search_runs(["0"])
    assert "reused.ingest" not in run.data.tags and "/runs/" not in run.data.tags["mlflow.note.content"]
    lineage = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/lineage.json")
    assert lineage["store"] == other and lineage["transformations"][0]["store"] == first

    made, get_run = lineage["transformations"][0]["run"], MlflowClient.get_run

    def denied(self, run_id):
        """What a server with users says of a run that it does not have."""
        if run_id == made:
            raise mlflow.MlflowException("Permission denied", error_code=PERMISSION_DENIED)
        return get_run(self, run_id)

    monkeypatch.setattr(MlflowClient, "get_run", denied)
    code, printed = do("ingest", "data=penguins")
    assert code == 0 and "reused" in printed and "Permission" not in printed, printed


def test_a_server_that_mlflow_run_does_not_read_of_is_said(outputs, monkeypatch):
    """`mlflow run` reads no .env, and hands its own store to the command."""
    monkeypatch.setenv("MLFLOW_RUN_ID", MlflowClient().create_run("0").info.run_id)
    told = {}
    for named in ("https://ana:hidden@mlflow.example.com/", "sqlite:///mlflow.db"):
        Path(".env").write_text(f"MLFLOW_TRACKING_URI={named}\n")
        notes = tracking.connect(experiment="x", server=False, hide=lambda text: text.replace("hidden", "***"))
        told[named] = [note for note in notes if ".env" in note]
    [note], none = told.values()
    assert f".env names https://ana:***@mlflow.example.com, and this run is in {os.environ[stores.TRACKING]}" in note
    assert "uv run --env-file .env mlflow run" in note and not none


@pytest.mark.parametrize("written, code", [(True, 0), (False, 1)])
def test_two_may_describe_an_experiment_at_once(do, monkeypatch, written, code):
    """As PostgreSQL has it: the second one's insert fails, and what it wanted to write is there."""
    describe, calls = MlflowClient.set_experiment_tag, []

    def late(self, *words):
        calls.append(words)
        if written:
            describe(self, *words)
        raise mlflow.MlflowException("duplicate key value violates unique constraint")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", late)
    assert do("ingest", "data=penguins")[0] == code and calls

    describe, version = MlflowClient.set_registered_model_tag, SimpleNamespace(name="a", version="1")
    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", late)
    monkeypatch.setattr(MlflowClient, "update_model_version", lambda *_: None)
    MlflowClient().create_registered_model("a")
    with nullcontext() if written else pytest.raises(mlflow.MlflowException, match="duplicate"):
        registry.describe(version, "one", "a model", {"task": "binary"})
        assert MlflowClient().get_registered_model("a").tags == {"task": "binary"}


@pytest.mark.parametrize("word", ["platform=server", "columns.sensitive=[sex]"])
def test_autologging_is_refused_where_it_has_to_be_clear_what_is_logged(do, word):
    code, printed = do("train", "data=penguins", "tracking.autolog=true", word)
    assert code == 2 and "tracking.autolog=true is for platform=local without columns.sensitive" in printed, printed


def test_a_reader_that_stops_reading_ends_nothing():
    there, here = os.pipe()
    os.close(there)
    with cli._Pipe(here, "w") as pipe:
        assert pipe.write(b"a line\n") == 7
