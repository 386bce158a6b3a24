import os

import pytest
from mlflow import MlflowClient

from << cookiecutter.package_name >>.__main__ import main


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """A folder of its own for what runs write: outputs, and the embedded store with its artifacts."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    MlflowClient().search_experiments()  # made here, so that artifacts land here
    return tmp_path


@pytest.fixture
def do(outputs, capsys):
    """Runs a command line of the package; gives the exit code and what was printed."""

    def run(*words: str) -> tuple[int, str]:
        code = main([*words, f"platform.outputs={outputs / 'outputs'}"])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
