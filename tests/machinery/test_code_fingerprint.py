"""What code can reach and what it means, on packages of a few lines."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import traced
from penguin_classifier.machinery.pipeline import code_fingerprint
from penguin_classifier.machinery.pipeline.code_fingerprint import CodeFingerprint

Write = Callable[[dict[str, str]], CodeFingerprint]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files into the package `eel`, each above it with "../"; gives the fingerprint of what is there then."""

    def package(files: dict[str, str]) -> CodeFingerprint:
        for name, text in ({"__init__.py": ""} | files).items():
            path = tmp_path / "eel" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return CodeFingerprint(tmp_path, "eel")

    return package


ENG = {"eng/__init__.py": "from .core import power", "eng/core.py": "def power(): ...", "eng/idle.py": ""}

IMPORTS = {  # a module's text, and what it reaches besides itself and the package's __init__
    "from .ratios import ratio": ["ratios"],
    "from . import ratios": ["ratios"],
    "from . import ratios as r": ["ratios"],
    "from eel.ratios import ratio": ["ratios"],
    "from eel import ratios": ["ratios"],
    "import eel.ratios": ["ratios"],
    "import eel.ratios as r": ["ratios"],
    "import eel.eng.core as c": ["eng", "eng.core"],
    "import eel.eng": ["eng", "eng.core"],
    "import os, eel.ratios": ["ratios"],
    "from .eng import power": ["eng", "eng.core"],
    "from .eng import idle": ["eng", "eng.core", "eng.idle"],
    "from .eng.idle import something": ["eng", "eng.core", "eng.idle"],
    "from .eng import *": ["eng", "eng.core"],
    "from .stars import *": ["stars", "stars.one", "stars.two"],
    "from .ratios import *": ["ratios"],
    "from . import eng\neng.idle.run()": ["eng", "eng.core", "eng.idle"],
    "import eel\neel.eng.idle.run()": ["eng", "eng.core", "eng.idle"],
    "import eel.eng as e\nclass A:\n  def f(self): return e.idle.X": ["eng", "eng.core", "eng.idle"],
    "def f():\n  from .ratios import ratio": ["ratios"],
    "async def f():\n  async with x:\n    from . import ratios": ["ratios"],
    "class A:\n  from .ratios import ratio": ["ratios"],
    "try:\n  import fast\nexcept ImportError:\n  from . import ratios": ["ratios"],
    "try:\n  pass\nexcept E: pass\nelse:\n  from . import ratios\nfinally:\n  from .eng import idle": [
        "eng",
        "eng.core",
        "eng.idle",
        "ratios",
    ],
    "match x:\n  case 1:\n    from . import ratios": ["ratios"],
    "from .space.deep import x": ["space.deep"],
    "from .space import deep": ["space.deep"],
    "import importlib\nimportlib.import_module('eel.ratios')": ["ratios"],
    "from importlib import import_module\nimport_module('.ratios', __package__)": ["ratios"],
    "from importlib import import_module as load\nload('.ratios', package=__package__)": ["ratios"],
    "from importlib import import_module\nimport_module('.idle', 'eel.eng')": ["eng", "eng.core", "eng.idle"],
    "from importlib import import_module\nimport_module('..ratios', package='eel.eng')": ["eng", "eng.core", "ratios"],
    "__import__('eel.ratios')": ["ratios"],
    "NAME = 'eel.ratios.ratio'\ndef f(): return locate(NAME)": ["ratios"],
    "from .ratios import gone": ["ratios"],
    "try:\n  from . import eng as e\nexcept E:\n  from . import space as e\ne.idle.x, e.deep.y": [
        "eng",
        "eng.core",
        "eng.idle",
        "space.deep",
    ],
    "import_module(f'{__package__}.ratios')": ["ratios"],
    "from helpers import x": ["..helpers", "ratios"],
    "import shared.tools": ["..shared", "..shared.other", "..shared.tools"],
}


@pytest.mark.parametrize("text", IMPORTS)
def test_every_form_of_import_reaches(text: str, write: Write) -> None:
    others = {
        "stars/__init__.py": "from .one import *\n__all__ = ['two', 'a']",
        "stars/one.py": "",
        "stars/two.py": "",
        "stars/three.py": "",
        "space/deep.py": "",
        "../helpers.py": "import eel.ratios",
        "../shared/__init__.py": "",
        "../shared/tools.py": "from .other import x",
        "../shared/other.py": "",
        "../shared/idle.py": "",
    }
    code = write({"a.py": text, "ratios.py": "def ratio(): ...", **ENG, **others})
    assert code.reachable(["a"]) == sorted(["__init__", "a", *IMPORTS[text]])


@pytest.mark.parametrize(
    "text",
    [
        "import ratios",  # not in the project's folder: a library of that name
        "from ....ratios import x",  # more dots than folders: fails when it runs
        "import os.path, numpy as np\nnp.ratios",
        "'ratios'\nx = 'see ratios.py'",
        "import eels.ratios\ny = 'my.eel.ratios', 'data/eel.ratios'",
        "# from . import ratios",
        "def f():\n  'import eel.ratios'\n  'eel.ratios'",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from . import ratios",
        "import typing\nif typing.TYPE_CHECKING:\n  from . import ratios\n  if x:\n    import eel.ratios",
        "import typing as t\nclass A:\n  def f(self):\n    if t.TYPE_CHECKING:\n      from . import ratios",
        "try:\n  if TYPE_CHECKING: import eel.ratios\nexcept E:\n  if TYPE_CHECKING: import eel.ratios",
        "if x:\n  pass\nelif TYPE_CHECKING:\n  from . import ratios",
        "if not TYPE_CHECKING:\n  pass\nelse:\n  from . import ratios",
    ],
)
def test_what_never_executes_does_not_count(text: str, write: Write) -> None:
    assert write({"a.py": text, "ratios.py": ""}).reachable(["a"]) == ["__init__", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "if TYPE_CHECKING:\n  from . import idle\nelse:\n  from . import ratios",
        "if not TYPE_CHECKING:\n  from . import ratios\nelse:\n  from . import idle",
        "if TYPE_CHECKING:\n  from . import idle\nelif x:\n  from . import ratios",
        "if TYPE_CHECKING:\n  from . import idle\nelse:\n  if t.TYPE_CHECKING: import eel.idle\n  import eel.ratios",
    ],
)
def test_the_other_branch_of_type_checking_counts(text: str, write: Write) -> None:
    assert write({"a.py": text, "ratios.py": "", "idle.py": ""}).reachable(["a"]) == ["__init__", "a", "ratios"]


def test_cycles_and_several_starts(write: Write) -> None:
    code = write({"a.py": "from . import b", "b.py": "from .c import x", "c.py": "from .a import y", "d.py": ""})
    assert code.reachable(["a"]) == code.reachable(["c", "b"]) == ["__init__", "a", "b", "c"]
    assert code.reachable(["a", "d"]) == ["__init__", "a", "b", "c", "d"]
    assert code.reachable([]) == []


def test_all_folders_around_a_module_execute(write: Write) -> None:
    files = {
        "__init__.py": "from .top import x",
        "top.py": "",
        "machinery/__init__.py": "from .version import y",
        "machinery/version.py": "",
        "machinery/jobs/tune/__init__.py": "",  # jobs has no __init__ of its own
        "machinery/jobs/tune/job.py": "from ...data.splits import z",
        "machinery/data/__init__.py": "",
        "machinery/data/splits.py": "from .. import version",
    }
    below = ["machinery", "machinery.data", "machinery.data.splits", "machinery.jobs.tune", "machinery.jobs.tune.job"]
    expected = ["__init__", *below, "machinery.version", "top"]
    code = write(files)
    assert code.reachable(["machinery.jobs.tune.job"]) == expected
    assert code.path("machinery") == "machinery/__init__.py"
    assert [code.path(name) for name in ("__init__", "top")] == ["__init__.py", "top.py"]


def test_relative_imports_in_a_folders_init_begin_in_that_folder(write: Write) -> None:
    files = {"eng/__init__.py": "from . import core\nfrom ..ratios import x", "core.py": "", "ratios.py": ""}
    code = write({**ENG, **files})
    assert code.reachable(["eng"]) == ["__init__", "eng", "eng.core", "ratios"]


def test_a_folder_hides_a_file_of_its_name(write: Write) -> None:
    code = write(
        {"a.py": "from .models import x", "models.py": "from . import b", "b.py": "", "models/__init__.py": ""}
    )
    assert code.reachable(["a"]) == ["__init__", "a", "models"]
    assert code.path("models") == "models/__init__.py"


def test_a_class_is_no_module_where_a_disk_ignores_case(write: Write) -> None:
    code = write({"a.py": "from .eng import Idle, Core", **ENG})
    assert code.reachable(["a"]) == ["__init__", "a", "eng", "eng.core"]


def test_what_conf_names_at_any_depth(write: Write) -> None:
    code = write({"models.py": "", "metrics.py": "", "sources.py": "", **ENG, "../helpers.py": ""})
    values = {
        "model": {"_target_": "eel.models.blend", "members": [{"_target_": "eel.models.blend"}, {"c": {"d": "x"}}]},
        "task": {"metrics": ["roc_auc", "eel.metrics.cost"], "threshold": {"scorer": ("eel.eng.power",)}},
        "more": SimpleNamespace(),
        "other": ["sklearn.ensemble.Forest", "steel.sources.x", 3, None, "data/eel.sources", "eel", "eels.sources"],
        "outside": "helpers.make",
    }
    assert code.named(values) == ["..helpers", "eng", "metrics", "models"]
    assert code.reachable(code.named(values)) == ["..helpers", "__init__", "eng", "eng.core", "metrics", "models"]
    assert code.named("eel.gone.x") == ["__init__"]
    assert code.named({"eel.sources.read": 1}) == ["sources"]
    assert code.named(["eel.eng.idle:run", "cost(eel.metrics.cost)"]) == ["eng.idle", "metrics"]
    assert code.named([]) == code.named(None) == []


def test_arguments_and_their_annotations(write: Write) -> None:
    train = (
        "from x import Model\ndef other(*, no): ...\n@step\ndef train(store, *, model: Model | None = None, seed): ..."
    )
    files = {
        "stages/train.py": train,
        "machinery/jobs/tune/job.py": "def tune(store, *, tune: 'Tuning', n: list[int]): ...",
    }
    code = write({**files, "stages/none.py": "def train(): ...", "stages/bare.py": "def bare(store): ..."})
    assert code.arguments("stages.train") == {"model": "Model | None", "seed": ""}
    assert list(code.arguments("machinery.jobs.tune.job")) == ["tune", "n"]
    assert code.arguments("machinery.jobs.tune.job") == {"tune": "Tuning", "n": "list[int]"}
    assert code.arguments("stages.bare") == {}
    with pytest.raises(LookupError, match=r"stages/none\.py has no function none"):
        code.arguments("stages.none")
    with pytest.raises(ModuleNotFoundError, match=r"eel has no module stages\.gone"):
        code.arguments("stages.gone")


def test_a_broken_module_names_its_file_and_disturbs_nobody_else(write: Write) -> None:
    code = write({"a.py": "", "b.py": "x ="})
    assert code.reachable(["a"]) == ["__init__", "a"]
    with pytest.raises(SyntaxError) as error:
        code.reachable(["b"])
    assert str(error.value.filename).endswith("b.py")


PLAIN = "from typing import TYPE_CHECKING\nLIMIT = 3\ndef f(x):\n    return x + LIMIT\nclass A:\n    y = 'a'\n"

SAME = [
    "# a comment\n" + PLAIN,
    '"""What it is."""\n' + PLAIN,
    PLAIN.replace("return", '"""Says more."""\n    return'),
    PLAIN.replace("y = 'a'", '"""Of A."""\n    y = "a"\n    "of y"'),
    PLAIN.replace("LIMIT = 3", "LIMIT   =   (3)\n\n\n"),
    PLAIN.replace("class", "if TYPE_CHECKING:\n    from .b import c\nclass"),
    PLAIN.replace("return", "if TYPE_CHECKING:\n        import z\n    return"),
    PLAIN.replace("\n", "\r\n"),
]
OTHER = [
    PLAIN.replace("3", "4"),
    PLAIN.replace("3", "3.0"),
    PLAIN.replace("'a'", "'b'"),
    PLAIN.replace("x + LIMIT", "LIMIT + x"),
    PLAIN.replace("def f(x)", "def f(x=1)"),
    PLAIN.replace("y = 'a'", "y: str = 'a'"),
    PLAIN + "if not TYPE_CHECKING:\n    LIMIT = 5\n",
    PLAIN + "assert LIMIT\n",
]


@pytest.mark.parametrize("text", SAME)
def test_what_does_not_change_a_digest(text: str, write: Write) -> None:
    assert write({"a.py": text}).digest("a") == write({"a.py": PLAIN}).digest("a")


@pytest.mark.parametrize("text", OTHER)
def test_what_changes_a_digest(text: str, write: Write) -> None:
    assert write({"a.py": text}).digest("a") != write({"a.py": PLAIN}).digest("a")


def test_a_digest_has_16_digits_and_does_not_depend_on_the_place(tmp_path: Path) -> None:
    digests = set()
    for where in ("here", "there"):
        for name, text in {"a.py": "x = open('b.sql')", "b.sql": "select 1"}.items():
            (tmp_path / where / "eel").mkdir(parents=True, exist_ok=True)
            (tmp_path / where / "eel" / name).write_text(text)
        digests.add(CodeFingerprint(tmp_path / where, "eel").digest("a"))
    assert len(digests) == 1
    assert all(len(digest) == 16 and int(digest, 16) for digest in digests)


REPORT = {
    "report/__init__.py": "",
    "report/report.html": "{% include style %}",
    "report/style.css": "a {}",
    "report/parts/head.html": "<head>",
    "report/README.md": "for people",
    "report/.DS_Store": "",
    "report/sub/__init__.py": "",
    "report/sub/query.sql": "select 1",
    "top.sql": "select 2",
}

OPENS = {  # the text of report/a.py, and the files whose change changes its digest
    "x = 1": [],
    "x = 'report'": [],
    "render('report.html')": ["report.html", "style.css", "parts/head.html"],
    "render(__file__, 'x')": ["report.html", "style.css", "parts/head.html"],
    "from jinja2 import PackageLoader as L\nL(__package__)": ["report.html", "style.css", "parts/head.html"],
    "import jinja2\njinja2.FileSystemLoader(HERE)": ["report.html", "style.css", "parts/head.html"],
    "from importlib.resources import files\nfiles(__package__)": ["report.html", "style.css", "parts/head.html"],
    "from importlib import resources": ["report.html", "style.css", "parts/head.html"],
    "import pkgutil\npkgutil.get_data(__package__, 'x')": ["report.html", "style.css", "parts/head.html"],
    "open(HERE / 'parts' / 'head.html')": ["report.html", "style.css", "parts/head.html"],
    "open('parts/head.html')": ["report.html", "style.css", "parts/head.html"],
    "render(f'{kind}.html')": ["report.html", "style.css", "parts/head.html"],
    "HERE.glob('*.css')": ["report.html", "style.css", "parts/head.html"],
    "open('README.md')": ["README.md"],
    "open(ROOT / 'top.sql')": ["../top.sql"],
    "open(ROOT / 'query.sql')": [],  # not in a folder above: the name of what it writes
    "open(HERE / 'sub' / 'query.sql', __file__)": ["report.html", "style.css", "parts/head.html", "sub/query.sql"],
    '"""See report.html."""\n# style.css': [],
}


@pytest.mark.parametrize("text", OPENS)
def test_files_that_code_opens_are_part_of_its_digest(text: str, write: Write) -> None:
    files = {**REPORT, "report/a.py": text}
    before = write(files).digest("report.a")
    names = [Path(name).relative_to("report").as_posix() for name in REPORT if name.startswith("report/")]
    changed = []
    for name in [*names, "../top.sql"]:
        path = f"report/{name}" if name[:2] != ".." else name[3:]
        if path.endswith(".py"):
            continue
        if write({**files, path: "changed"}).digest("report.a") != before:
            changed.append(name)
        write(files)
    assert sorted(changed) == sorted(OPENS[text])


def test_a_new_or_renamed_template_changes_the_digest(write: Write) -> None:
    before = write({**REPORT, "report/a.py": "render('report.html')"})
    digest = before.digest("report.a")
    assert write({"report/more.html": ""}).digest("report.a") != digest
    (before.root / "eel/report/more.html").rename(before.root / "eel/report/less.html")
    assert CodeFingerprint(before.root, "eel").digest("report.a") != digest


def test_links_to_nothing_are_passed_over(write: Write, tmp_path: Path) -> None:
    files = {
        "page.html": "a",
        "opens.py": "from pathlib import Path\n\n\ndef f():\n    return Path('page.html').open()\n",
    }
    before = write(files).digest("opens")
    for name in (".#opens.py", "gone.py", "gone.html"):
        (tmp_path / "eel" / name).symlink_to("ana@laptop.4711:1700000000")
    os.mkfifo(tmp_path / "eel/pipe.html")
    code = write(files)
    assert code.digest("opens") == before and "gone" not in str(code.files)


def test_libraries_are_what_lies_outside_of_the_project(write: Write) -> None:
    text = (
        "import os.path, polars as pl\nfrom sklearn.ensemble import X\nfrom . import b\nimport eel.b, helpers\n"
        "if TYPE_CHECKING:\n  import mlflow\nimport importlib\nimportlib.import_module('torch')\n"
        "def f():\n  import optuna\n  optuna.x.y()"
    )
    code = write({"a.py": text, "b.py": "import json", "../helpers.py": ""})
    assert code.libraries(["a"]) == {"os", "polars", "sklearn", "importlib", "optuna"}
    assert code.libraries(code.reachable(["a"])) == {"os", "polars", "sklearn", "importlib", "optuna", "json"}


def test_imports_with_computed_names_are_listed(write: Write) -> None:
    text = "import importlib as i\ni.import_module('.b')\n\ni.import_module(f'.{name}', __package__)\n__import__(x)"
    assert write({"a.py": text, "b.py": ""}).unresolved(["a", "b"]) == ["a.py:4", "a.py:5"]


def test_the_cache_is_read_for_equal_texts_only(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"a.py": "from . import b\nX = 1", "b.py": ""})
    parsed: list[str] = []
    parse = ast.parse

    def counted(text: bytes, filename: str) -> ast.Module:
        parsed.append(Path(filename).name)
        return parse(text, filename)

    monkeypatch.setattr(ast, "parse", counted)

    def seen() -> tuple[str, list[str]]:
        parsed.clear()
        code = CodeFingerprint(tmp_path, "eel", cache=tmp_path / "kept" / "code.json")
        code.reachable(["a"])
        return code.digest("a"), sorted(parsed)

    first, all_parsed = seen()
    assert all_parsed == ["__init__.py", "a.py", "b.py"]
    assert seen() == (first, [])
    write({"a.py": "from . import b\nX = 2"})  # as long as before, and within the same tick of a clock perhaps
    second, again = seen()
    assert second != first
    assert again == ["a.py"]
    for broken in ("", "[]", "{", json.dumps({"maker": "x", "modules": {}}), json.dumps({"modules": 3})):
        (tmp_path / "kept" / "code.json").write_text(broken)
        assert seen() == (second, all_parsed)
    monkeypatch.setattr(code_fingerprint, "_hash", lambda content: "another maker" + repr(len(content)))
    assert seen()[1] == all_parsed
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["code.json"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, write: Write) -> None:
    write({"a.py": "", "../file": ""})
    code = CodeFingerprint(tmp_path, "eel", cache=tmp_path / "file" / "code.json")
    assert code.reachable(["a"]) == ["__init__", "a"]


def test_nothing_is_imported_and_nothing_written(write: Write) -> None:
    code = write({"a.py": "from . import b\nraise SystemExit", "b.py": "raise SystemExit"})
    code.digest("a"), code.libraries(code.reachable(["a"]))
    assert not [name for name in sys.modules if name.partition(".")[0] == "eel"]
    assert sorted(path.name for path in (code.root / "eel").iterdir()) == ["__init__.py", "a.py", "b.py"]


def test_what_executes_is_reachable(tmp_path: Path, write: Write) -> None:
    files = {
        "__main__.py": "from .a import run\nrun()",
        "a.py": "import threading\nfrom . import early\nfrom .eng import power\ndef run():\n  from eel import late\n"
        "  thread = threading.Thread(target=late.work); thread.start(); thread.join()",
        "early.py": "def never(): ...",
        "late.py": "def work():\n  import importlib\n  list(importlib.import_module('.gen', __package__).numbers())",
        "gen.py": "def numbers():\n  yield 1",
        "idle.py": "",
    }
    code = write({**files, **ENG})
    command = [sys.executable, traced.__file__, "out.json", "eel"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    executed = json.loads((tmp_path / "out.json").read_text())
    assert executed == ["__init__", "__main__", "a", "early", "eng", "eng.core", "gen", "late"]
    assert executed == code.reachable(["__main__"])


def test_functions_that_execute_are_recorded_each_time(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = write({"f.py": "def work(): return 1", "g.py": "def work(): return 2"})
    monkeypatch.syspath_prepend(str(code.root))
    from eel import f, g  # type: ignore[import-not-found]

    assert traced.executed_modules(f.work, tmp_path / "eel") == {"f"}
    assert traced.executed_modules(f.work, tmp_path / "eel") == {"f"}
    assert traced.executed_modules(lambda: (f.work(), g.work()), tmp_path / "eel") == {"f", "g"}
