"""The pages of the template and of a project as one site, with every key and function that is yours: `make site`.

python docs/site.py FOLDER    # writes FOLDER/pages and FOLDER/mkdocs.yml, of which mkdocs makes FOLDER/site
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ADDRESS = re.search(r"repository-code: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))[1]
YOURS = "features encoders models metrics sources gates training config".split()
NAVIGATION = {  # pages by what somebody wants to do; one that stands nowhere goes below "More"
    "Start": ["index", "tour", "project"],
    "Data": ["data", "spark"],
    "Models": ["models", "your_code", "tuning", "networks", "champion"],
    "Runs": ["runs", "reruns", "trouble", "environments", "security"],
    "Production": ["serving", "monitoring", "server", "production"],
    "Platforms": ["kubernetes", "slurm", "airflow", "databricks"],
    "Reference": ["configuration", "code", "machinery"],
    "Keep and change": ["updating", "removing", "forking", "contributing", "security_policy", "changelog"],
    "Why": ["decisions", "measured"],
}
TITLES = {"index": "The template", "project": "A generated project", "security_policy": "Report a weakness"}
WIDE = ".md-grid { max-width: 84rem }"  # as commands are
SETTINGS = {
    "site_name": "cookiecutter-mlproject",
    "docs_dir": "pages",
    "use_directory_urls": False,  # any server of files will do
    "theme": {"name": "material", "font": False, "features": ["content.code.copy", "search.highlight", "toc.follow"]},
    "plugins": ["search"],
    "extra_css": ["wide.css"],
    "markdown_extensions": ["tables", "pymdownx.superfences", "pymdownx.highlight", {"toc": {"permalink": True}}],
    "validation": {name: "warn" for name in ("omitted_files", "absolute_links", "unrecognized_links", "anchors")},
    "extra": {"generator": False},
}


def generated(folder: Path) -> Path:
    """A project with all parts, made in `folder`."""
    words = ["--no-input", str(ROOT), "--output-dir", str(folder), "deploy=all"]
    quietly = {"env": {**os.environ, "COOKIECUTTER_MLPROJECT_LOCK": "no"}, "stdout": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "cookiecutter", *words], check=True, **quietly)
    return folder / "penguin-classifier"


def sources(project: Path) -> dict[str, tuple[Path, str]]:
    """Each page by its name, with the file that it is made of."""
    files = {
        "index": ROOT / "README.md",
        "project": project / "README.md",
        "machinery": project / "penguin_classifier/machinery/README.md",
    }
    files |= {name: ROOT / f"{name.upper()}.md" for name in ("contributing", "changelog")}
    files |= {"security_policy": ROOT / "SECURITY.md"}
    files |= {path.stem: path for folder in (project, ROOT) for path in sorted(folder.glob("docs/*.md"))}
    pages = {name: (path, path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}
    made = {"configuration": configuration(project / "conf"), "code": code(project / "penguin_classifier")}
    return pages | {name: (ROOT / f"{name}.md", text) for name, text in made.items()}


def configuration(conf: Path) -> str:
    """Every file of conf/, whose comments say what each key does."""
    text = "# Every key\n\nEach is a `-P key=value`; a file in a folder is chosen by `-P folder=file`.\n"
    for group in (conf, *sorted(path for path in conf.iterdir() if path.is_dir())):
        text += f"\n## {group.relative_to(conf.parent)}/\n"
        for file in sorted(group.glob("*.yaml")):
            text += f"\n### {file.name}\n\n```yaml\n{file.read_text(encoding='utf-8').strip()}\n```\n"
    return text


def code(package: Path) -> str:
    """What is yours of the package: each function and class with its arguments and what its docstring says."""
    text = "# What is yours, and what it is called with\n"
    for file in [package / f"{name}.py" for name in YOURS] + sorted(package.glob("stages/[a-z]*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        text += f"\n## {file.relative_to(package)}\n\n{ast.get_docstring(module)}\n"
        for node in module.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                about = ast.get_docstring(node) or ""
                if isinstance(node, ast.FunctionDef):
                    node.body, node.decorator_list = [ast.Expr(ast.Constant(...))], []
                head = ast.unparse(node).splitlines()[0]
                text += f"\n### {node.name}\n\n```python\n{head}\n```\n\n{about}\n"
    return text


def linked(text: str, path: Path, names: dict[Path, str]) -> str:
    """A page's text with its links to files as links to pages, to pictures, or to what the repository has."""

    def target(found: re.Match) -> str:
        file, _, anchor = found[1].partition("#")
        there = (path.parent / file).resolve()
        if "://" in file or not file:
            return found[0]
        if there in names:
            return f"]({names[there]}.md{'#' + anchor if anchor else ''})"
        if there.suffix == ".png":
            return f"]({there.name})"
        return f"]({ADDRESS}/blob/main/{there.relative_to(ROOT)})" if ROOT in there.parents else found[0]

    return re.sub(r"\]\(([^)\s]+)\)", target, text)


def write(folder: Path) -> None:
    """The pages and mkdocs' settings into `folder`."""
    target = folder / "pages"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as made:
        pages = sources(generated(Path(made).resolve()))
        names = {path: name for name, (path, _) in pages.items()}
        for name, (path, text) in pages.items():
            (target / f"{name}.md").write_text(linked(text, path, names), encoding="utf-8")
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, target)
    (target / "wide.css").write_text(WIDE, encoding="utf-8")
    placed = {name for each in NAVIGATION.values() for name in each}
    navigation = NAVIGATION | {"More": sorted(pages.keys() - placed)}
    there = {
        title: [{TITLES[name]: f"{name}.md"} if name in TITLES else f"{name}.md" for name in each if name in pages]
        for title, each in navigation.items()
    }
    settings = SETTINGS | {"nav": [{title: each} for title, each in there.items() if each]}
    (folder / "mkdocs.yml").write_text(json.dumps(settings, indent=1), encoding="utf-8")  # JSON is YAML


if __name__ == "__main__":
    write(Path(sys.argv[1]))
