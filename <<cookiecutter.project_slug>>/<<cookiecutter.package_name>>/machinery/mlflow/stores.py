"""The stores of runs and of versions, embedded or on a server: made where they are not there, and a sentence where
they do not answer, are damaged or let nobody in."""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from ..config.validation import absence
from ..errors import CANNOT_WRITE, ConfigError, ProjectError, Unavailable, one_line
from ..locks import locked

TRACKING, REGISTRY = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
CERTIFICATE, CLIENT = "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"
_BUCKETS = {  # by the scheme of an address: what MLflow reads and writes it through, and the extra that has it
    "s3": ("boto3", "boto3", "s3"),
    "gs": ("google.cloud.storage", "google-cloud-storage", "gs"),
    "wasbs": ("azure.storage.blob", "azure-storage-blob", "azure"),
    "abfss": ("azure.storage.filedatalake", "azure-storage-file-datalake", "azure"),
}
_SECONDS = (5, 30)  # in which a server has to take a call, and to answer; it may be busy
CLOSED = "readonly|unable to open"
SQLITE = {  # what SQLite says: what that means, and the way out
    "malformed|not a database|disk I/O error|no such table": "is damaged: put back a copy of it, or move it away, and "
    "the next command makes a new one (models and tables stay in mlruns/ and outputs/)",
    CLOSED: f"cannot be written: give this user the right to, or name another as {TRACKING}=sqlite:///...",
    "is full": "cannot be written, the disk is full: free some of it, and the same command goes on from there",
}


def check_server(*, server: bool) -> str:
    """The address of the tracking store.

    Raises ConfigError where `server` is wanted and MLFLOW_TRACKING_URI names none, and Unavailable where a server does
    not answer.
    """
    address = mlflow.get_tracking_uri()
    if server and not address.startswith(("http://", "https://", "databricks")):
        raise ConfigError(f"platform=server needs {TRACKING} to name a server; it is {address}")
    if address.startswith("sqlite:") and _file(address).exists():
        _refuse_damaged(address)
    if sentence := silence():
        raise Unavailable(sentence)
    return address


def _refuse_damaged(address: str) -> None:
    """Raises ProjectError where the embedded store at `address` cannot be opened: MLflow would try for minutes."""
    file = _file(address).absolute()
    mode = "rw" if Path(f"{file}-journal").exists() else "ro"  # what a killed process was writing has to be undone
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True)) as store:
            store.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError as error:
        if sentence := _said_by_sqlite(error, address):
            raise ProjectError(sentence) from error


def silence() -> str | None:
    """A sentence where a server does not answer: MLflow itself retries for minutes before it says so.

    It is asked as MLflow asks it: through the environment's proxy, by the environment's certificates.
    """
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    sentence = _unreachable("tracking server", tracking, TRACKING)
    return sentence or (_unreachable("registry", registry, REGISTRY) if registry != tracking else None)


def _unreachable(what: str, address: str, variable: str) -> str | None:
    parts = urlsplit(address)
    reason = _refused(address) if parts.scheme in ("http", "https") else None
    way_out = f"{CERTIFICATE} names the file of whom to trust" if "trusted" in (reason or "") else f"check {variable}"
    return reason and f"the {what} {parts.scheme}://{parts.netloc.rpartition('@')[2]} {reason}: {way_out}"


def _refused(address: str) -> str | None:
    """Why the server at `address` cannot be asked, such as "does not answer (...)"; None where it can."""
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    verify, cert = not insecure and (os.environ.get(CERTIFICATE) or True), os.environ.get(CLIENT)
    try:
        status = requests.get(f"{address.rstrip('/')}/health", timeout=_SECONDS, verify=verify, cert=cert).status_code
    except (OSError, ValueError) as error:  # requests' errors, and that of a certificate's file that is not there
        if missing := [name for name in (verify, cert) if isinstance(name, str) and name in str(error)]:
            return f"has a certificate that is not trusted without {missing[0]}, which cannot be read"
        if why := re.search(r"certificate verify failed: (.+?)\.? \(_ssl", str(error)):
            return f"has a certificate that is not trusted here ({why[1]})"
        through = isinstance(error, requests.exceptions.ProxyError)
        proxy = " through the proxy that HTTP_PROXY or HTTPS_PROXY names" if through else ""
        inner = re.search(r"(\[Errno|timed out|\[SSL|Tunnel connection)[^'\")]*", str(error))
        return f"does not answer{proxy} ({inner[0].strip() if inner else one_line(error)[:200]})"
    return f"does not answer (status {status})" if status in (502, 503, 504) else None


@contextmanager
def using(address: str | None) -> Iterator[None]:
    """Until the end of the block, MLflow's calls go to the server at `address`; None: to where they go anyway."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    if address:
        _use(address, address)
    try:
        if sentence := silence():
            raise Unavailable(sentence)
        yield
    finally:
        if address:
            _use(*before)


def _use(tracking: str, registry: str) -> None:
    mlflow.set_tracking_uri(tracking)
    mlflow.set_registry_uri(registry)


def describe_once(tags: dict[str, str], set_tag: Callable[[str, str], Any], held: Callable[[], Any]) -> None:
    """Sets `tags`; where another process does so at this moment, PostgreSQL lets one, and what is `held` stays."""
    for key, value in tags.items():
        try:
            set_tag(key, value)
        except MlflowException:
            if key not in held().tags:
                raise


@contextmanager
def sentences_of_stores() -> Iterator[None]:
    """What a store raises in the block as an error of the project."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ProjectError):
            raise
        registry = f", {REGISTRY}={mlflow.get_registry_uri()}" if os.environ.get(REGISTRY) else ""
        raise refusal(error) or ProjectError(f"{mlflow.get_tracking_uri()}{registry}: {one_line(error)}") from error


def refusal(error: BaseException) -> ProjectError | None:
    """What an error says of a store or of a file, where it says that: it is away, damaged, not writable, or closed."""
    if sentence := silence():
        return Unavailable(f"{sentence}; what is done is kept, and the same command goes on from there")
    text, address = str(error), mlflow.get_tracking_uri()
    if "database schema" in text and isinstance(error, MlflowException):
        return ProjectError(
            f"{address} was made by another MLflow than this one ({mlflow.__version__}): "
            f"`uv run mlflow db upgrade {address}` brings an older one up to date"
        )
    # not where somebody reads or writes another database
    if any(re.search(r"mlflow\Wstore", each.filename) for each in traceback.extract_tb(error.__traceback__)):
        if sentence := _said_by_sqlite(error, address):
            return ProjectError(sentence)
        if "database is locked" in text:
            return Unavailable(f"{address} is in use by another process: give the command again")
    if "mlflow-artifacts" in text:
        said = re.search(r"\b[45]\d\d [\w ]+|$", text)[0] or "no answer"  # type: ignore[index]  # "413 Client Error"
        way_out = "what is done is kept, and the same command goes on once its artifact store answers"
        kind = ProjectError if said.startswith("4") else Unavailable
        return kind(f"the server does not take or give the files of runs ({said}): {way_out}")
    if isinstance(error, OSError) and error.errno in CANNOT_WRITE and error.filename:
        return ProjectError(f"{error.filename} cannot be used ({error.strerror}): free it, or move it away")
    return _denied(error)


def _said_by_sqlite(error: BaseException, address: str) -> str | None:
    """What SQLite's `error` means for the embedded store at `address`, and the way out."""
    return next((f"{address} {meaning}" for said, meaning in SQLITE.items() if re.search(said, str(error))), None)


def _denied(error: BaseException) -> ProjectError | None:
    """A sentence where a server does not let this user in, or do this."""
    if "error code 401" in str(error):
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return ProjectError(f"the tracking server does not let this user in: check {names}")
    if getattr(error, "error_code", None) != "PERMISSION_DENIED":
        return None
    user, match = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user"), re.search(r"mlflow/([\w/\-]+)", str(error))
    what = f" ({match[1]})" if match else ""
    sentence = f"the tracking server does not let {user} do this{what}: its administrator gives the permission"
    return ProjectError(sentence)


def refuse_unreadable(place: str) -> None:
    """Raises ConfigError where `place`, the files of a run, is in a bucket whose library is not installed."""
    module, library, extra = _BUCKETS.get(urlsplit(place).scheme, ("mlflow", "", ""))
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # not even google or azure
        found = None
    if not found:
        bucket = "/".join(place.split("/", 3)[:3])
        raise absence(f"{bucket}, where {mlflow.get_tracking_uri()} keeps the files of runs,", library, extra=extra)


def make_embedded(address: str) -> None:
    """Makes the embedded store at `address` where it is not there, whole, and once.

    MLflow's migrations fail on one another where two processes make it, and leave half of it where one is killed.
    """
    file = _file(address)
    place = file if file.exists() else file.parent
    if place.exists() and not os.access(place, os.W_OK):
        raise ProjectError(f"{address} {SQLITE[CLOSED]}")
    if file.exists():
        return
    with locked(file):
        if not file.exists():
            draft = file.with_name(f"{file.name}.new")
            draft.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{draft}").search_experiments()
            os.rename(draft, file)


def _file(address: str) -> Path:
    return Path(unquote(address.removeprefix("sqlite:///").partition("?")[0]))
