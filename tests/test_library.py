"""The machinery runs wherever it is imported from: a platform team can build it as a library of its own."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Project

pytestmark = pytest.mark.slow

WORDS = ("model=forest", "model.n_estimators=5", "evaluation.importance_repeats=0", "evaluation.resamples=0")


def test_the_machinery_runs_under_another_name(fresh: Project, tmp_path: Path) -> None:
    """Its folder is gone from the package. Its code is then no part of the keys: its version in the lock is."""
    package, library = fresh.path / fresh.package, tmp_path / "library"
    shutil.copytree(package / "machinery", library / "acme_machinery")
    shutil.rmtree(package / "machinery")
    for file in package.rglob("*.py"):
        text = re.sub(r"from \.+machinery\b", "from acme_machinery", file.read_text())
        file.write_text(text.replace(f"{fresh.package}.machinery", "acme_machinery"))
    where = {"PYTHONPATH": str(library)}
    done = fresh.python(*WORDS, **where)
    assert done.code == 0 and "version 1 is champion" in done.printed, done.printed
    again = fresh.python(*WORDS, **where)
    assert again.printed.startswith("register is up to date"), again.printed
    record = json.loads(next((fresh.path / "outputs/train").glob("*/outcome.json")).read_text())
    assert not [name for name in record["fingerprint_parts"] if "machinery" in name]
    for words in (["predict", "input=data/raw/penguins.csv", "output=scores.csv"], ["monitor"], ["explain"]):
        done = fresh.python(*words, **where)
        assert done.code == 0, (words, done.printed)
    tuned = fresh.python("tune", *WORDS[:2], "tune.trials=2", "tune.folds=2", **where)
    assert tuned.code == 0, tuned.printed
