import textwrap

import pytest

from << cookiecutter.package_name >> import modules, plans


def forget() -> None:
    for each in (modules._tree, modules._imported, modules.digest):
        each.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one stage that uses one noun, which can be rewritten."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/train.py").write_text("import torch\nfrom ..nouns import fit\ndef train(store, *, seed): ...\n")
    (tmp_path / "nouns.py").write_text("def fit():\n    return 1\n")
    (tmp_path / "others.py").write_text("X = 1\n")
    monkeypatch.setattr(modules, "PACKAGE", tmp_path)
    forget()

    def digests(nouns: str) -> list[str]:
        (tmp_path / "nouns.py").write_text(textwrap.dedent(nouns))
        forget()
        return [modules.digest(name) for name in modules.reachable("stages.train")]

    yield digests
    forget()


def test_a_stage_reaches_what_it_imports(package):
    assert modules.reachable("stages.train") == ["nouns", "stages.train"]
    assert modules.libraries(["stages.train"]) == {"torch"}
    assert modules.arguments("stages.train") == ["seed"]


def test_only_meaning_counts(package):
    before = package("def fit():\n    return 1\n")
    assert package('def fit():\n    """Says one."""\n    return (1)  # one\n') == before
    assert package("def fit():\n    return 2\n") != before


def test_a_target_of_this_package_counts_as_reached(package):
    assert modules.reached("stages.train", ["polars.scan_csv"]) == ["nouns", "stages.train"]
    named = f"{modules.__package__}.others.X"
    assert modules.reached("stages.train", [named]) == ["nouns", "others", "stages.train"]


def test_every_stage_sees_only_what_its_key_covers():
    for stage in plans.LINE:
        assert modules.arguments(f"stages.{stage}"), stage
    assert "model" not in modules.arguments("stages.split") and "gate" not in modules.arguments("stages.train")
