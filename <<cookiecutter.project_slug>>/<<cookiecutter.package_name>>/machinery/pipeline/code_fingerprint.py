"""What code a stage can reach, told from syntax trees without importing any of it."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


def arguments(module: str) -> list[str]:
    """The keyword-only arguments of the function that a stage's or job's `module` is called after: what it may see."""
    functions = {node.name: node for node in _tree(module).body if isinstance(node, ast.FunctionDef)}
    return [argument.arg for argument in functions[module.rpartition(".")[2]].args.kwonlyargs]


def reachable(module: str) -> list[str]:
    """`module` and every module of this package that it imports, directly or through others, sorted."""
    found, rest = set(), [module]
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += _imported(name)
    return sorted(found)


def reached(module: str, named: list[str]) -> list[str]:
    """The modules that `module` can reach, through its own imports or what `named` names of this package, sorted."""
    start = f"{__package__}."
    own = [text.removeprefix(start).rpartition(".")[0] for text in named if text.startswith(start)]
    return sorted({name for each in [module, *filter(_file, own)] for name in reachable(each)})


@cache
def digest(name: str) -> str:
    """A hash of what the module `name` means, and of the files beside it that it names, such as templates.

    Comments, formatting and docstrings do not count.
    """
    tree = _tree(name)
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = [PACKAGE / text for text in sorted(texts) if re.fullmatch(r"[\w-]+\.\w+", text)]
    found = [file.read_bytes() for file in files if file.is_file()]
    return hashlib.sha256(b"\0".join([ast.dump(tree).encode(), *found])).hexdigest()[:16]


def libraries(names: list[str]) -> set[str]:
    """The top-level names of all that the modules `names` import from outside the package."""
    found = set()
    for node in (node for name in names for node in ast.walk(_tree(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _file(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _tree(name: str) -> ast.Module:
    """The module's syntax tree without docstrings and without what only a type checker runs."""
    file = _file(name)
    assert file is not None, name
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_docstring(part) and not _is_for_types(part)]  # type: ignore
    return tree


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _imported(name: str) -> list[str]:
    """The package's modules that the module `name` imports itself, as relative imports."""
    found = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.ImportFrom) and node.level:
            parent = name.split(".")[: -node.level] + (node.module.split(".") if node.module else [])
            found += [".".join(parent), *(".".join([*parent, alias.name]) for alias in node.names)]
    return [module for module in found if module and _file(module)]
