"""The rules of the generated package, held by reading its code where it stands."""

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from conftest import FOLDER, ROOT

PACKAGE = FOLDER / "<<cookiecutter.package_name>>"
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
YOURS = {name for name in MODULES if not name.startswith("machinery/")}
OWNERS = {  # who may name a library
    "hydra": ("machinery/config/", "machinery/cli"),
    "omegaconf": ("machinery/config/", "machinery/jobs/tune/candidates"),
    "mlflow": (
        "machinery/mlflow/",
        "machinery/model/loader",
        "machinery/jobs/monitor/reference",
        "machinery/serving/model_server/",
    ),
}
WRITERS = (
    "machinery/pipeline/store",
    "machinery/pipeline/bucket",
    "machinery/pipeline/code_fingerprint",
    "machinery/locks",
    "machinery/mlflow/model_format",
    "machinery/model/networks/checkpoints",
    "machinery/serving/model_server/answer_log",
    "machinery/engines/written",
)
# import-linter's; what only a type checker imports does not count.
CONTRACTS = """
[importlinter]
root_package = penguin_classifier
exclude_type_checking_imports = True

[importlinter:contract:parts]
name = The machinery does not import what is yours
type = forbidden
source_modules = penguin_classifier.machinery
forbidden_modules = {yours}

[importlinter:contract:layers]
name = Inside the machinery, imports point one way
type = layers
containers = penguin_classifier.machinery
layers =
    cli
    jobs
    evaluation | serving
    report
    data
    pipeline
    engines
    mlflow
    config
    layout
    model
    result
    errors

[importlinter:contract:travels]
name = What travels with a model imports nothing else of the package
type = forbidden
source_modules = penguin_classifier.machinery.model
forbidden_modules = {others}

[importlinter:contract:serves]
name = What serves a model in its own environment imports nothing else of the package
type = forbidden
source_modules = penguin_classifier.machinery.serving.model_server
forbidden_modules =
    penguin_classifier.machinery.model
    penguin_classifier.machinery.errors
    penguin_classifier.machinery.serving.inputs
    penguin_classifier.machinery.serving.request
    penguin_classifier.machinery.serving.server_check{rest}
"""


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """A module's imports, but those that only a type checker reads."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def own(name: str) -> set[str]:
    """The package's modules that a module imports."""
    found = set()
    for node in imports(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and node.level:
            parent = name.split("/")[: -node.level] + (node.module or "").split(".")
            paths = ["/".join([*filter(None, parent), *more]) for more in [[], *([alias.name] for alias in node.names)]]
            found |= {path for path in paths if path in MODULES}
    return found


def foreign(name: str) -> set[str]:
    """The libraries that a module imports."""
    found = set()
    for node in imports(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif not node.level:
            found.add(node.module.partition(".")[0])
    return found


def tracked() -> list[str]:
    """The repository's files."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if (ROOT / name).is_file()]


def test_imports_point_one_way(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "penguin_classifier", ignore=shutil.ignore_patterns("__pycache__"))
    folders = {name.split("/")[1] for name in MODULES if name.count("/") > 1 and name.startswith("machinery/")}
    tops = {name.split("/")[0] for name in YOURS} - {"__init__", "__main__"}
    text = CONTRACTS.format(
        yours="".join(f"\n    penguin_classifier.{name}" for name in sorted(tops)),
        others="".join(f"\n    penguin_classifier.machinery.{name}" for name in sorted(folders - {"model"})),
        rest="".join(f"\n    penguin_classifier.machinery.{name}" for name in sorted(folders - {"model", "serving"})),
    )
    (tmp_path / ".importlinter").write_text(text)
    tool = str(Path(sys.executable).parent / "lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_named_by_its_owner_alone(library):
    assert not [name for name in MODULES if library in foreign(name) and not name.startswith(OWNERS[library])]


def test_only_the_store_writes():
    for name, path in MODULES.items():
        if name not in WRITERS:
            assert not re.search(
                r"\.(write_text|write_bytes|mkdir|sink_\w+|savefig)\(|\bopen\(.*[\"']w", path.read_text()
            )


def test_nothing_is_done_at_import():
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Expr):  # a docstring, or a call that sets a library's switch
                text = ast.unparse(node)
                assert isinstance(node.value, ast.Constant) or re.match(r"logging\.|matplotlib\.use", text), (
                    f"{name}: {text}"
                )


def test_public_functions_say_what_they_give():
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and name != "__main__":
                assert ast.get_docstring(node), f"{name}.{node.name}"


TWICE = {  # public names that stand for two things: let it shrink. Each job has its Arguments; main is the command
    *("main", "Arguments", "validate", "evaluate", "register", "promote"),  # stages and jobs do what the machinery does
    *("refuse", "NAMED", "refuse_absent", "STYLE", "masked", "page", "SEEN", "KINDS", "ROWS"),
    *("sentences", "twins", "read", "SHOWN", "reading", "record", "shares", "compare", "MOST", "training_curves"),
    *("SUITS", "fit", "PATIENCE", "summary", "bars", "load", "FEW", "Column", "has", "NUMBER", "values", "opened"),
    *("history", "version", "versions", "run", "LONG"),
}


def test_no_public_name_stands_for_two_things():
    """Functions, classes and constants of modules."""
    places: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [each.id for each in targets if isinstance(each, ast.Name)]
            for each in [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else names:
                if not each.startswith("_"):
                    places.setdefault(each, set()).add(name)
    assert {each: where for each, where in places.items() if len(where) > 1 and each not in TWICE} == {}


def code(name: str) -> int:
    """A module's lines of code: without blank ones, comments and docstrings."""
    text = MODULES[name].read_text()
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in quiet]
    lines = {line for each in tokens for line in range(each.start[0], each.end[0] + 1)}
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    docs = [node.body[0] for node in nodes if node.body and ast.get_docstring(node)]
    return len(lines - {line for doc in docs for line in range(doc.lineno, doc.end_lineno + 1)})


def test_what_is_yours_can_be_read_in_half_an_hour():
    counts = {name: len(MODULES[name].read_text().splitlines()) for name in YOURS}
    assert sum(counts.values()) <= 1000, counts
    stages = {name: count for name, count in counts.items() if name.startswith("stages/")}
    assert max(stages.values()) <= 100, stages


def test_the_machinery_earns_its_lines():
    """Engines and networks, folders that can be deleted, are counted by themselves."""
    counts = dict.fromkeys(("engines", "networks", "rest"), 0)
    for name in MODULES:
        counts[next((each for each in counts if f"/{each}/" in name), "rest")] += code(name)
    assert counts["rest"] < 12220, sorted(((code(name), name) for name in MODULES), reverse=True)[:20]
    assert max(counts["engines"], counts["networks"]) <= 500, counts


def test_there_is_no_jinja_in_the_package():
    for name, path in MODULES.items():
        assert not re.search("<<|>>|<%|%>|<#|#>", path.read_text()), name


def test_there_are_few_conditionals_and_none_in_conf_and_tests():
    counts = {}
    for path in (ROOT / name for name in tracked() if name.startswith(FOLDER.name)):
        found = re.findall(r"<%-?\s*(if|for|set|elif)|<<[^>]*\bif\b", path.read_text(encoding="utf-8"))
        if found:
            counts[path.relative_to(FOLDER).as_posix()] = len(found)
    assert not [name for name in counts if name.startswith(("conf/", "tests/"))]
    assert sum(counts.values()) <= 10, counts


def test_the_source_is_clean_by_ruff_where_it_stands():
    tool = str(Path(sys.executable).parent / "ruff")
    for words in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):  # a cache would be generated along
        folders = ["hooks", "updates", "tests", "benchmarks", "docs", str(PACKAGE)]
        done = subprocess.run([tool, *words, *folders], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_decisions_name_every_question():
    text = (ROOT / "docs/decisions.md").read_text()
    for question in json.loads((ROOT / "cookiecutter.json").read_text()):
        assert question.startswith("_") or f"`{question}`" in text, question


def test_no_file_names_a_registry_or_ships_a_lock():
    hosts = re.compile("pypi" + r"\.org|python" + r"hosted\.org|registry\.npm" + "js")
    for name in tracked():
        assert not re.search(r"(^|/)(uv\.lock|mlflow\.db|mlruns/|outputs/)", name), name
        if not name.endswith(".png"):
            assert not hosts.search((ROOT / name).read_text(encoding="utf-8")), name
