import textwrap

import pytest

from << cookiecutter.package_name >>.machinery.pipeline import code_fingerprint, plan


def forget() -> None:
    for each in (code_fingerprint._tree, code_fingerprint._imported, code_fingerprint.digest):
        each.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one stage that uses one noun, which can be rewritten."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/train.py").write_text("import torch\nfrom ..nouns import fit\ndef train(store, *, seed): ...\n")
    (tmp_path / "nouns.py").write_text("def fit():\n    return 1\n")
    (tmp_path / "others.py").write_text("X = 1\n")
    monkeypatch.setattr(code_fingerprint, "PACKAGE", tmp_path)
    forget()

    def digests(nouns: str) -> list[str]:
        (tmp_path / "nouns.py").write_text(textwrap.dedent(nouns))
        forget()
        return [code_fingerprint.digest(name) for name in code_fingerprint.reachable("stages.train")]

    yield digests
    forget()


def test_a_stage_reaches_what_it_imports(package):
    assert code_fingerprint.reachable("stages.train") == ["nouns", "stages.train"]
    assert code_fingerprint.libraries(["stages.train"]) == {"torch"}
    assert code_fingerprint.arguments("stages.train") == ["seed"]


def test_only_meaning_counts(package):
    before = package("def fit():\n    return 1\n")
    assert package('def fit():\n    """Says one."""\n    return (1)  # one\n') == before
    assert package("def fit():\n    return 2\n") != before


def test_a_target_of_this_package_counts_as_reached(package):
    assert code_fingerprint.reached("stages.train", ["polars.scan_csv"]) == ["nouns", "stages.train"]
    named = f"{modules.__package__}.others.X"
    assert code_fingerprint.reached("stages.train", [named]) == ["nouns", "others", "stages.train"]


def test_every_stage_sees_only_what_its_key_covers():
    for stage in plan.LINE:
        assert code_fingerprint.arguments(f"stages.{stage}"), stage
    assert "model" not in code_fingerprint.arguments("stages.split") and "gate" not in code_fingerprint.arguments("stages.train")
