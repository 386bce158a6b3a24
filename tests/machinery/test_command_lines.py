"""A thousand wrong command lines, made at random from one seed: each is read, or refused in a sentence."""

import copy
import functools
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra._internal.config_repository import ConfigRepository
from penguin_classifier.machinery import cli
from penguin_classifier.machinery.config import compose, overrides
from penguin_classifier.machinery.errors import ProjectError
from penguin_classifier.machinery.layout import Layout

LAYOUT = Layout(Path(__file__).parents[1], "penguin_classifier")
WORDS = """null true 2024 1e999 -1e999 nan .inf -.inf 1_000 0x1F 1e3 12e4567 007 -0 None os.system penguins forest
[] {} [a,b] [[1]] {1:2} {true:a} [{_target_:x}] {a:{b:[1]}} [ } {a [a a,b 1,2 a=b ' " \\ a\\ \\' ??? * &a !x @x a@b ~
${seed} ${model} ${columns.drop} ${nothing} ${ ${} ${oc.env:NOT_SET} ${oc.env:HOME} ${a:b} ${oc.decode:'['} ../x / .. .
${hydra:runtime.choices.data} ${choices.data} choice(1,2) range(3) 2026-11-30 12:30:00"""
VALUES = [*WORDS.split(), "", "{a: 1}", "a b", "a\nb", "a\tb", "\0", "\ufeff", "größe", "\udcff", "😀", "a" * 5000]
PARTS = ["", *"a 0 1 -1 _target_ low größe a-b A key space hydra choices [0]".split(), "x" * 300]


@pytest.fixture(scope="module")
def quick():
    """Reads each file of conf/ once, and what the keys take once for each choice of options."""
    real, kept = ConfigRepository.load_config, {}

    def load_config(self, config_path):
        if config_path not in kept:
            kept[config_path] = real(self, config_path)
        return copy.deepcopy(kept[config_path])

    once = functools.cache(lambda chosen, job: compose.composed(LAYOUT, list(chosen), job))
    base = {"composed": lambda layout, chosen, job: once(tuple(chosen), job)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load_config)
        patch.setattr(overrides, "compose", SimpleNamespace(**{**vars(compose), **base}))
        yield


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Every key of the configuration, of sections and lists too."""
    names: list[str] = []

    def walk(value: object, at: str) -> None:
        names.append(at)
        for key, part in value.items() if isinstance(value, dict) else ():
            walk(part, f"{at}.{key}".removeprefix("."))

    for job in (None, "tune"):
        walk(compose.resolve(LAYOUT, ["data=penguins", "model=forest"], job)[1], "")
    return [*filter(None, dict.fromkeys(names)), *compose.groups(LAYOUT), "path", "input", "keep"]


def command_line(draw: random.Random, keys: list[str]) -> list[str]:
    """One to three words, with a key that is there, or nearly."""

    def word() -> str:
        key, value = draw.choice(keys), draw.choice(VALUES)
        for _ in range(draw.choice((0, 0, 0, 0, 1, 1, 2, 300))):
            key += "." + draw.choice(PARTS)
        if draw.random() < 0.1:
            key = key[: draw.randrange(len(key) + 1)] + draw.choice(PARTS)
        sign = draw.choice(["", "", "", "", "+", "++", "~", "--", "/", "@"])
        return draw.choice([f"{sign}{key}={value}"] * 8 + [f"{sign}{key}", value])

    return [word() for _ in range(draw.choice((1, 1, 1, 2, 3)))]


@pytest.mark.parametrize("part", range(10))
def test_a_wrong_command_line_is_read_or_refused_in_a_sentence(part, quick, keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw, wrong, read = random.Random(part), [], 0
    for line in range(100):  # of which one is right, whatever keys there are
        words, job = command_line(draw, keys), draw.choice([None, None, "tune", "profile", "predict"])
        words = ["seed=7", "--description", f"part {part}"] if line == 50 else words
        try:
            cli._plan(LAYOUT, words, tmp_path, job, 0.0)
            read += 1
        except ProjectError as error:
            if "\n" in str(error) or len(str(error)) > 3000:
                wrong.append((job, words, str(error)))
        except BaseException as error:
            wrong.append((job, words, repr(error)))
    assert wrong == [] and 1 <= read <= 30
