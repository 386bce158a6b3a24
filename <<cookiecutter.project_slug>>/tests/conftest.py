import gc
import os
import shutil

import pytest
import sqlalchemy
from mlflow import MlflowClient

from << cookiecutter.package_name >>.__main__ import main

DATA = "penguins"  # the table that tests are run on: a file of conf/data/


@pytest.fixture(scope="session", autouse=True)
def hurry():
    """Spares the collector what was imported and stays, and SQLite the wait for the disk: nobody needs these stores."""
    gc.freeze()
    sqlalchemy.event.listen(
        sqlalchemy.Engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """A new embedded store: made once, because MLflow takes a second for it, and copied for each test."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where its artifacts will be
        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def outputs(store, tmp_path, monkeypatch):
    """A folder of its own for what runs write, an embedded store among it."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    shutil.copy(store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def do(outputs, capsys):
    """Runs a command line of the package; gives the exit code and what was printed."""

    def run(*words: str) -> tuple[int, str]:
        code = main([*words, f"platform.outputs={outputs / 'outputs'}"])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
