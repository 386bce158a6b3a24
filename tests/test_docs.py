"""The pages say what is there: the trees are those of the docstrings, and every command on a page is one that works."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import FOLDER, ROOT, Project, bake, settings

MADE = {  # options that a page has its reader make, or a command before it makes
    "data": ["customers", "sales", "tried"],
    "model": ["mine", "knn"],
    "experiment": ["stronger", "boosting_penguins", "forest_penguins"],
}
# Sections that take any key.
OPEN = r"(model|source|tags|gate\.min_scores|features\.derive|tune\.space|tune\.model|types|engine\.options)\."
KEYS = """
import json
from pathlib import Path
from omegaconf import OmegaConf
from penguin_classifier.machinery.config import compose
from penguin_classifier.machinery.layout import Layout

def keys(node, above=""):
    for name in node if OmegaConf.is_dict(node) else []:
        yield above + name
        if not OmegaConf.is_missing(node, name) and not OmegaConf.is_interpolation(node, name):
            yield from keys(node[name], f"{above}{name}.")

layout = Layout(Path.cwd(), "penguin_classifier")
every = {job: [*keys(compose.composed(layout, [], job))] for job in layout.jobs}
print(json.dumps({"groups": compose.groups(layout), "stages": [*layout.stages], "keys": every}))
"""


def test_the_trees_are_those_of_the_modules_docstrings():
    done = subprocess.run([sys.executable, "docs/trees.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def everything(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that has all parts."""
    return Project(bake(tmp_path_factory.mktemp("everything"), deploy="all"), environment)


def pages(project: Path) -> list[Path]:
    """What people read, in the template and in a project."""
    ours = [path for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md") if path.name != "decisions.md"]
    return ours + [path for folder in (project, project / "docs") for path in folder.glob("*.md")]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line of code and of each code in a line."""
    blocks = re.findall(r"(?ms)^```(?:sh|console)?\n(.*?)^```", text)
    lines = [line for block in blocks for line in re.sub(r"\\\n *", "", block).splitlines()]
    lines += re.findall(r"(?s)(?<!`)`([^`]+)`(?!`)", re.sub(r"(?ms)^```.*?^```", "", text))
    for line in lines:
        try:
            words = shlex.split(line.removeprefix("$ ").rstrip("}").replace("--cfg job", ""), comments=True)
        except ValueError:  # no command
            continue
        if words:
            yield words


def typed(words: list[str], package: str) -> tuple[str | None, list[str]] | None:
    """The entry point and the overrides of a command of the project; None where it is none."""
    entry = words[words.index("-e") + 1] if "-e" in words[:-1] else None
    if package in words[:-1] and words[words.index(package) - 1] == "-m":
        rest = [word for word in words[words.index(package) + 1 :] if not word.startswith("-")]
        return (rest[0], rest[1:]) if rest and "=" not in rest[0] else (None, rest)
    if "-P" in words or entry:
        return entry, [value for flag, value in pairwise(words) if flag == "-P"]
    return None


def faults(text: str, there: dict) -> list[tuple]:
    """The entry points, keys, options and targets of `make` that a page's commands name and that are not `there`."""
    keys, entries = there["keys"], {"main", "explain", *there["stages"], *there["keys"]}
    anywhere = {key for each in keys.values() for key in each} | {"result", "reuse"}
    found = []
    for words in commands(text):
        if words[0] == "make" and len(words) > 1 and words[1].islower() and words[1] not in there["targets"]:
            found.append(("make", words[1]))
        if not (command := typed(words, "penguin_classifier")):
            continue
        entry, overrides = command
        if entry and entry not in entries:
            found.append(("no entry point", entry))
        allowed = {*keys[entry], *keys["deploy"], "result"} if entry in keys else anywhere
        for each in overrides:
            key, _, value = each.partition("=")
            if re.search(r"\.\.\.|^key=|=$|^\W", each):  # words for whatever the reader has
                continue
            if key in there["groups"] and re.fullmatch(r"[a-z_]+", value):
                if value not in [*there["groups"][key], *MADE.get(key, [])]:
                    found.append(("no option", key, value))
            elif key not in allowed and not re.match(OPEN, key):
                found.append(("no key", entry, key))
    return found


@pytest.mark.slow
def test_every_command_on_every_page_is_one_of_the_project(everything: Project) -> None:
    done = everything.run("python", "-c", KEYS)
    assert done.code == 0, done.printed
    there = json.loads(done.lines[-1]) | {"targets": set()}
    for folder in (ROOT, everything.path):
        for file in (folder / "Makefile", *folder.glob("deploy/*.mk")):
            there["targets"] |= {*re.findall(r"(?m)^([a-z]+):", file.read_text())}
    texts = {path.name: path.read_text() for path in pages(everything.path)}
    texts["every_entry_point.sh"] = f"```sh\n{(ROOT / 'tests/every_entry_point.sh').read_text()}```\n"
    wrong = {name: found for name, text in texts.items() if (found := faults(text, there))}
    assert not wrong, wrong
    assert sum(bool(typed(words, "penguin_classifier")) for text in texts.values() for words in commands(text)) > 150
    bad = "`-e trian -P sede=7 -P model=tree`, `make lnit`, `python -m penguin_classifier tune tune.trails=3`"
    assert len(faults(bad, there)) == 5


def test_what_agents_are_told_is_there() -> None:
    """Files and folders of both AGENTS.md, but for what commands make; the container's command is one of ours."""
    later = {"outputs/", "outputs/last.json", "mlflow.db", "mlruns/", "uv.lock", ".env"}
    for folder in (ROOT, FOLDER):
        text = (
            (folder / "AGENTS.md")
            .read_text()
            .replace("<< cookiecutter.package_name >>", "<<cookiecutter.package_name>>")
        )
        named = {name for name in re.findall(r"`([\w<>./-]*[/.][\w<>./-]*)`", text) if not name.startswith("columns")}
        places = (folder, FOLDER, FOLDER / "<<cookiecutter.package_name>>")
        gone = [name for name in named - later if not any((place / name).exists() for place in places)]
        assert len(named) > 8 and gone == []
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert f"\n{container['postCreateCommand'].removeprefix('make ')}:" in (ROOT / "Makefile").read_text()


TASKS = {  # what newcomers look for: the words that they type, and the page that has to be among the first
    "first run install uv": "project",
    "my own csv file": "data",
    "read from a database postgresql": "data",
    "excel": "data",
    "feature derived column": "your_code",
    "own metric profit": "your_code",
    "lightgbm": "models",
    "change threshold rare class": "data",
    "hyperparameter search trials": "tuning",
    "promote rollback champion": "champion",
    "batch score new rows": "serving",
    "docker image": "serving",
    "drift alarm": "monitoring",
    "retrain workflow": "monitoring",
    "tracking server team": "server",
    "kubernetes job": "kubernetes",
    "airflow dag": "airflow",
    "exit code": "trouble",
    "password token credential": "security",
    "reproduce a run": "reruns",
    "remove conda": "removing",
    "conda environment": "environments",
}


def search(index: list[dict], query: str) -> list[str]:
    """Pages by how well their best section has the words of a query: in its title, its text, and rare ones more."""
    words = query.lower().split()
    texts = [(each["title"].lower(), each["text"].lower(), each["location"].partition(".html")[0]) for each in index]
    rarity = {word: 1 / (1 + sum(word in title + text for title, text, _ in texts)) for word in words}

    def score(title: str, text: str) -> float:
        return sum(rarity[word] * (3 * (word in title) + (word in text)) for word in words)

    ranked = sorted(texts, key=lambda each: -score(*each[:2]))
    return list(dict.fromkeys(page for *_, page in ranked))


@pytest.mark.slow
def test_the_site_is_whole_says_nothing_to_anybody_and_what_is_looked_for_is_found() -> None:
    """mkdocs is strict about links, anchors and pages that no menu has."""
    words = ["make", "-o", ".venv/ready", "site"]
    done = subprocess.run(words, cwd=ROOT, env=settings(), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / ".cache/site/site"
    made = {path.stem for path in site.glob("*.html")} - {"404"}
    assert made >= {path.stem for folder in (ROOT, FOLDER) for path in (folder / "docs").glob("*.md")} | {
        "index",
        "code",
    }
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="([^"]*)|<link[^>]*\bhref="([^"]*)', page.read_text())
        assert not [address for found in loaded for address in found if "//" in address], page
    index = json.loads((site / "search/search_index.json").read_text())["docs"]
    assert {page: place for query, page in TASKS.items() if (place := search(index, query).index(page)) > 3} == {}
