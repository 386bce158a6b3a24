"""Writes the trees of the READMEs from the modules' docstrings; `--check` says whether they are as they should be."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "<<cookiecutter.project_slug>>"
PACKAGE = PROJECT / "<<cookiecutter.package_name>>"
YOURS = "features encoders models training metrics sources gates config".split()
FOLDERS = "config pipeline mlflow model data evaluation report serving jobs".split()
WIDE = 22  # letters of the longest name in a tree

HEAD = """# machinery

You need not open this: what is yours lies above, and nothing in here imports it. An update from the template replaces
this folder whole. Imports point one way: jobs -> evaluation, serving -> report -> data -> pipeline -> mlflow -> config
-> layout -> model -> result, locks, errors. Made from the modules' docstrings.
"""


def first_line(file: Path) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", text)[0].rstrip(".:")


def entry(name: str, text: str, wide: int = 88) -> str:
    """A line of a tree."""
    return f"  {name:<{WIDE}} {text if len(text) <= wide else text[: wide - 4].rsplit(' ', 1)[0] + ' ...'}".rstrip()


def machinery() -> str:
    """The README in the machinery: a line for each module."""
    lines, folder = [HEAD.rstrip()], PACKAGE / "machinery"
    groups = [
        folder,
        *(folder / name for name in FOLDERS),
        folder / "serving/model_server",
        *sorted(path.parent for path in folder.glob("jobs/*/job.py")),
    ]
    for group in groups:
        name = group.relative_to(folder).as_posix()
        about = first_line(group / "__init__.py") if (group / "__init__.py").exists() else ""
        lines += ["", f"## {name}/" if group != folder else "## On top"] + (["", f"{about}."] if about else []) + [""]
        modules = [file for file in sorted(group.glob("*.py")) if file.name != "__init__.py"]
        lines += [f"- `{file.name}`: {first_line(file)}." for file in modules]
    return "\n".join(lines) + "\n"


def package() -> str:
    """What is yours, a line for each file, and the machinery, a line for each folder."""
    lines = [entry(f"{name}.py", first_line(PACKAGE / f"{name}.py")) for name in YOURS]
    stages = ast.literal_eval(re.search(r"STAGES = (\(.*?\))", (PACKAGE / "stages/__init__.py").read_text())[1])
    lines += [entry("stages/", first_line(PACKAGE / "stages/__init__.py"))]
    lines += [entry(f"  {name}.py", first_line(PACKAGE / f"stages/{name}.py")) for name in stages]
    lines += [entry("machinery/", "you need not open this; machinery/README.md says what is where")]
    jobs = " ".join(sorted(path.parent.name for path in (PACKAGE / "machinery").glob("jobs/*/job.py")))
    texts = {name: first_line(PACKAGE / "machinery" / name / "__init__.py") for name in FOLDERS}
    texts["jobs"] = jobs
    return "\n".join([*lines, *(entry(f"  {name}/", texts[name]) for name in FOLDERS)])


def written() -> dict[Path, str]:
    """What each file has to hold."""
    top = """conf/                    config.yaml and a folder for each group of options
data/raw/  notebooks/    a sample table; a notebook that compares runs
tests/                   of what is yours: read them, add to them
"""
    files = {PACKAGE / "machinery/README.md": machinery()}
    for file, start, name in (
        (PROJECT / "README.md", top, "<< cookiecutter.package_name >>"),
        (ROOT / "README.md", "", "penguin_classifier"),
    ):
        tree = f"```\n{start}{name}/\n{package()}\n```"
        pattern = re.compile(r"(<!-- tree -->\n\n).*?(\n\n<!-- end of the tree -->)", re.DOTALL)
        files[file] = pattern.sub(lambda found, tree=tree: found[1] + tree + found[2], file.read_text(encoding="utf-8"))
    return files


if __name__ == "__main__":
    wrong = {path: text for path, text in written().items() if not path.exists() or path.read_text("utf-8") != text}
    if "--check" in sys.argv:
        sys.exit(f"`python docs/trees.py` makes anew: {', '.join(path.name for path in wrong)}" if wrong else 0)
    for path, text in wrong.items():
        path.write_text(text, encoding="utf-8")
