"""The modules of a package that a stage can reach, and a digest of what each means: from syntax trees, without imports.

What syntax cannot show is an import whose module's name is computed: `unresolved` lists such places.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, TypedDict

IMPORTERS = ("import_module", "__import__")
FINDERS = {"__file__", "__path__", "FileSystemLoader", "PackageLoader", "get_data", "resources"}
FILE_NAME = re.compile(r"[\w-]{1,100}|.{0,100}\.\w{1,20}")
DOTTED_NAME = re.compile(r"(?<![\w./])[^\W\d]\w*(?:\.\w+)+")
RELATIVE_NAME = re.compile(r"\.+[^\W\d]\w*(?:\.\w+)*")


class Facts(TypedDict):
    """What the text of one module says before anything is looked up."""

    source: str  # the hash of the text
    meaning: str  # the hash of its syntax tree
    imports: list[str]  # what it imports or names: [".eng.power", "polars"]; a dot in front is a level, as in Python
    texts: list[str]  # string literals that may be file names, without folders
    finds_files: bool  # whether it can open files of its folder without naming them
    computed: list[int]  # lines that import a module whose name is computed
    arguments: dict[str, str] | None  # of the function that the module is called after


class CodeFingerprint:
    """The code of `package`, a folder in `root`, as it is now; each file is read once.

    Modules are named from the package: "stages.train"; "stages" is the `__init__` of that folder, "__init__" the
    package's own. "..name" is a module next to the package, in `root`: its code can import that as well.

    To parse 80 modules takes 0.3 s, to read and hash them 2 ms. So where `cache` names a file, what a text says is kept
    there by the text's hash: a time stamp can lie.
    """

    def __init__(self, root: Path, package: str, *, cache: Path | None = None) -> None:
        self.root, self.package, self.cache = root, package, cache
        self.files, self.data = _scan(root, package)
        self._looked_up = {package}  # names in `root`
        self._facts: dict[str, Facts] = {}
        self._digests: dict[str, str] = {}
        self._cached: dict[str, Facts] = {}
        self._maker = _hash(package.encode() + Path(__file__).read_bytes())
        if cache:
            with suppress(
                OSError, ValueError, KeyError, TypeError, AttributeError
            ):  # there is none, or not a whole one
                content = json.loads(cache.read_bytes())
                modules = content["modules"] if content["maker"] == self._maker else {}
                self._cached = {
                    name: facts for name, facts in modules.items() if facts.keys() == Facts.__annotations__.keys()
                }

    def arguments(self, module: str) -> dict[str, str]:
        """The keyword-only arguments of the function that `module` is called after, and their annotations.

        "stages.train" has a function `train`; a module called `job` has one called like its folder. {"seed": "int"}.
        """
        arguments = self._read(self._full(module))["arguments"]
        if arguments is None:
            raise LookupError(f"{self.path(module)} has no function {_function(module)}: write one, it is what runs")
        return arguments

    def reachable(self, modules: Collection[str]) -> list[str]:
        """`modules` and all that they import, directly or through others, sorted.

        An import executes the `__init__` of each folder that the module lies in: these count.
        """
        reached: set[str] = set()
        rest = [self._full(module) for module in modules]
        while rest:
            module = rest.pop()
            if module not in reached:
                reached.add(module)
                rest += [*self._imported(module), *(each for each in _folders(module) if each in self.files)]
        self._write_cache()
        return sorted(self._short(module) for module in reached)

    def named(self, values: Any) -> list[str]:
        """The modules that texts in nested mappings and lists name, sorted: "penguins.models.blend" -> ["models"]."""
        names = {name for text in _texts(values) for name in DOTTED_NAME.findall(text)}
        return sorted({self._short(module) for name in names if (module := self._module(name))})

    def digest(self, module: str) -> str:
        """16 hexadecimal digits of a hash of what `module` means, and of the files that it opens, such as templates.

        Comments, formatting, docstrings and what only a type checker runs do not count.
        """
        if module not in self._digests:
            parts = [self._read(self._full(module))["meaning"]]
            for file in sorted(self._opened(self._full(module))):
                parts += [file.relative_to(self.root).as_posix(), _hash(file.read_bytes())]
            self._digests[module] = _hash("\0".join(parts).encode())[:16]
        return self._digests[module]

    def libraries(self, modules: Collection[str]) -> set[str]:
        """The top-level names of what `modules` import from outside of the project: {"json", "polars"}."""
        names = {name for module in modules for name in self._read(self._full(module))["imports"]}
        outside = {name for name in names if not name.startswith(".") and not self._module(name)}
        return {name.partition(".")[0] for name in outside} - {self.package}

    def unresolved(self, modules: Collection[str]) -> list[str]:
        """The places in `modules` that import a module whose name is computed: ["models.py:12"]."""
        lines = {module: self._read(self._full(module))["computed"] for module in sorted(modules)}
        return [f"{self.path(module)}:{line}" for module in lines for line in lines[module]]

    def path(self, module: str) -> str:
        """The file of `module`, from the package's folder: "stages" -> "stages/__init__.py"."""
        return Path(os.path.relpath(self._file(self._full(module)), self.root / self.package)).as_posix()

    def _full(self, module: str) -> str:
        """The name by which Python imports `module`: "stages.train" -> "penguins.stages.train"."""
        if module.startswith(".."):
            return module[2:]
        return self.package if module == "__init__" else f"{self.package}.{module}"

    def _short(self, full: str) -> str:
        """The opposite of `_full`."""
        inside = full.removeprefix(f"{self.package}.")
        return "__init__" if full == self.package else inside if inside != full else f"..{full}"

    def _file(self, full: str) -> Path:
        if self._module(full) != full:
            raise ModuleNotFoundError(f"{self.package} has no module {self._short(full)}", name=full)
        return self.files[full]

    def _module(self, name: str) -> str | None:
        """The module that `name` names, or names something in: the longest beginning of it that is a module."""
        top = name.partition(".")[0]
        if top not in self._looked_up:
            self._looked_up.add(top)
            if (self.root / f"{top}.py").is_file() or (self.root / top / "__init__.py").is_file():
                self.files |= _scan(self.root, top)[0]
        return next((each for each in [name, *_folders(name)] if each in self.files), None)

    def _read(self, full: str) -> Facts:
        if full not in self._facts:
            text, cached = self._file(full).read_bytes(), self._cached.get(full)
            if not cached or cached["source"] != _hash(text):
                cached = _facts(text, self.files[full], self.package)
            self._facts[full] = cached
        return self._facts[full]

    def _imported(self, full: str) -> Iterator[str]:
        """The modules that `full` itself imports, or names in a string literal, as importlib takes it."""
        imports = self._read(full)["imports"]
        folder = full if self.files[full].name == "__init__.py" else full.rpartition(".")[0]
        for name in imports:
            with suppress(ImportError):  # it has more dots than there are folders, and fails when it runs
                absolute = resolve_name(name, folder)
                if module := self._module(absolute):
                    yield module
                    if absolute.endswith(".*"):  # this imports the modules that `__all__` names, too
                        members = (f"{module}.{text}" for text in self._read(module)["texts"])
                        yield from (member for member in members if member in self.files)

    def _opened(self, full: str) -> set[Path]:
        """The files of the package, except Python's, that the module opens, as far as its text shows.

        A module that names one file of its own folder, or can find files there, opens all of them: templates include
        one another, and names are computed (`f"{kind}.html"`). From the folders above it opens the files that it
        names; from any other only where it can find files: a name alone may be that of an artifact.
        """
        facts, home = self._read(full), self.files[full].parent
        texts, finds = set(facts["texts"]), facts["finds_files"]
        own = [file for file in self.data.get(home, []) if file.stem != "README"]  # for people, unless it is named
        ends = tuple(file.suffix or file.name for file in own)
        whole = own if finds or any(text.endswith(ends) for text in texts) else []
        folders = self.data if finds else self.data.keys() & {home, *home.parents}
        return {file for folder in folders for file in self.data[folder] if file.name in texts} | set(whole)

    def _write_cache(self) -> None:
        if self.cache is None or all(self._cached.get(module) is facts for module, facts in self._facts.items()):
            return
        self._cached |= self._facts
        draft = self.cache.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # the folder is read-only: the next command parses again
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"maker": self._maker, "modules": self._cached}), encoding="utf-8")
            draft.replace(self.cache)  # another process reads the old file or the new one


def _facts(text: bytes, file: Path, package: str) -> Facts:
    """What the `text` of a module of `package` says."""
    tree = _stripped(ast.parse(text, filename=str(file)))
    bound: set[tuple[str, str]] = set()  # ("p", ".eng.power") of `from .eng import power as p`
    words, chains, literals, computed = set(), set(), set(), []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                bound |= {(alias.asname or alias.name, alias.name) for alias in node.names}
            case ast.ImportFrom():
                start = "." * node.level + (f"{node.module}." if node.module else "")
                bound |= {(alias.asname or alias.name, start + alias.name) for alias in node.names}
            case ast.Name(word):
                words.add(word)
            case ast.Attribute():
                words.add(node.attr)
                chains.add(_dotted(node))
            case ast.Constant(str(literal)):
                literals.add(literal)
            case ast.Call(ast.Name(word) | ast.Attribute(attr=word)) if word in IMPORTERS:
                match [*node.args, *(keyword.value for keyword in node.keywords)]:
                    case [ast.Constant(str(name)), ast.Constant(str(folder))]:
                        with suppress(ImportError):  # as in _imported
                            literals.add(resolve_name(name, folder))
                    case [first, *_] if not isinstance(first, ast.Constant):
                        computed.append(node.lineno)
    imports = {name for _, name in bound}
    words |= {word for name in imports for word in name.split(".")}
    # `eng.core.f` may be in a module that other code has imported
    own = {(local, name) for local, name in bound if name.partition(".")[0] in ("", package)} | {(package, package)}
    imports |= {
        name + each.removeprefix(local) for local, name in own for each in chains if each.startswith(f"{local}.")
    }
    imports |= {text for text in literals if RELATIVE_NAME.fullmatch(text)}
    imports |= {name for text in literals for name in DOTTED_NAME.findall(text) if name.startswith(f"{package}.")}
    return Facts(
        source=_hash(text),
        meaning=_hash(ast.dump(tree).encode()),
        imports=sorted(imports),
        texts=sorted({name for text in literals if FILE_NAME.fullmatch(name := re.split(r"[\\/]", text)[-1])}),
        finds_files=not FINDERS.isdisjoint(words),
        computed=sorted(computed),
        arguments=_arguments(tree, _function(".".join(file.with_suffix("").parts))),
    )


def _stripped(tree: ast.Module) -> ast.Module:
    """`tree` without docstrings and without what only a type checker runs."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                setattr(node, field, list(_executed(statements)))
    return tree


def _executed(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in statements:
        match node:
            case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from _executed(node.orelse)
            case ast.If(ast.UnaryOp(ast.Not(), ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"))):
                yield from _executed(node.body)
            case ast.Expr(ast.Constant(str())):
                pass
            case _:
                yield node


def _arguments(tree: ast.Module, function: str) -> dict[str, str] | None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            texts = {each.arg: ast.unparse(each.annotation) if each.annotation else "" for each in node.args.kwonlyargs}
            return {name: text.strip("'\"") for name, text in texts.items()}  # an annotation may stand in quotes
    return None


def _function(module: str) -> str:
    """The name of the function that a module is called after: `train` of "stages.train", `tune` of "jobs.tune.job"."""
    *folders, name = module.split(".")
    return folders[-1] if name == "job" and folders else name


def _scan(root: Path, top: str) -> tuple[dict[str, Path], dict[Path, list[Path]]]:
    """The modules `top` and below it, and the other files there by the innermost folder with code that they lie in."""
    modules = {top: root / f"{top}.py"} if (root / f"{top}.py").is_file() else {}
    data: dict[Path, list[Path]] = {}
    homes: dict[Path, Path] = {}
    for path, folders, names in os.walk(root / top):
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
        folder = Path(path)
        has_code = folder.parent == root or any(name.endswith(".py") for name in names)
        homes[folder] = folder if has_code else homes[folder.parent]
        dotted = ".".join(folder.relative_to(root).parts)
        for name in (each for each in names if (folder / each).is_file()):  # no link to nothing, as an editor's lock is
            if name.endswith(".py"):
                modules[f"{dotted}.{name[:-3]}".removesuffix(".__init__")] = folder / name
            elif not name.startswith(".") and not name.endswith((".pyc", ".pyi", "~")):
                data.setdefault(homes[folder], []).append(folder / name)
    return modules, data


def _texts(values: Any) -> Iterator[str]:
    """All texts in nested mappings, dataclasses and lists."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        yield from _texts([*values.keys(), *values.values()])
    elif is_dataclass(values):
        yield from _texts(vars(values))
    elif isinstance(values, list | tuple | set | frozenset):
        yield from (text for each in values for text in _texts(each))


def _dotted(node: ast.expr) -> str:
    """The text of `a.b.c`; "" where it does not begin with a name."""
    if isinstance(node, ast.Attribute):
        start = _dotted(node.value)
        return f"{start}.{node.attr}" if start else ""
    return node.id if isinstance(node, ast.Name) else ""


def _folders(name: str) -> list[str]:
    """What `name` lies in: "a.b.c" -> ["a.b", "a"]."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
