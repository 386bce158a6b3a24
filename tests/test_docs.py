"""The READMEs say what is there."""

import subprocess
import sys

from conftest import ROOT


def test_the_trees_are_those_of_the_modules_docstrings():
    done = subprocess.run([sys.executable, "docs/trees.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
