#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["cookiecutter>=2.7.1,<3"]
# ///
"""Brings a generated project up to its template, on a branch of its own: `make update` in the project starts it.

It lies in the template, so that a project made a year ago is updated by what is known today:

    uv run path/to/template/updates/update.py --project path/to/project [question=answer ...]

git merges three trees: the project as the template of then renders it, as its owner made it, and as the template of now
renders it. That happens in a repository in a temporary folder, which borrows the project's objects: the project gets
one thing, the finished branch, and whoever is killed before has changed nothing. docs/updating.md says it for users.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1]
ANSWERS = ".cookiecutter.json"
LOCKS = ("requirements.txt", "conda.yaml", "uv.lock")
FIXED = ("project_slug", "package_name")  # what folders, experiments and models are called after
WHOLE = (".ipynb", ".json")  # a file of these with git's marks in it opens in no program
LOOK = 3  # exit code: the branch is there, and somebody has to look at it
# Whatever repository the caller works in (it may be a git hook), and whatever environment: uv makes its own.
HIDDEN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
HIDDEN += ("VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
NOBODY = {
    f"GIT_{who}_{key}": value
    for who in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "template update"), ("EMAIL", "update@localhost"))
}
# Of the scratch repository: nothing of the user's own git may ask, sign, convert or decide.
SETTINGS = {
    "core.autocrlf": "false",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "merge.directoryRenames": "true",  # what the template adds to a folder that was renamed goes there
    "merge.renames": "true",
    "merge.conflictStyle": "merge",
    "rerere.enabled": "false",
}

Tree = dict[str, tuple[str, str]]  # path: (mode, object)


class Refusal(Exception):
    """Why nothing was done, and the way out, in one sentence."""


def run(*words: object, folder: Path, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    """The finished process, with what it printed."""
    known = {name: value for name, value in os.environ.items() if name not in HIDDEN} | (env or {})
    options = {"stdin": subprocess.DEVNULL} | options if "input" not in options else options
    words = tuple(map(str, words))
    return subprocess.run(words, cwd=folder, env=known, capture_output=True, **options)


def git(folder: Path, *words: object, **options) -> str:
    """What a git command says, without the last line end; its complaint is an error."""
    done = run("git", *words, folder=folder, **options)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise Refusal(f"`git {' '.join(map(str, words[:2]))}` in {folder}: {said[-1].removeprefix('fatal: ')}")
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def holds(folder: Path, *words: object) -> bool:
    """Whether a git command succeeds."""
    return run("git", *words, folder=folder).returncode == 0


# The template


def find_commit(name: str) -> str | None:
    """The commit of a tag, a branch or an id in the template's repository, fetched where it can be."""
    for each in (name,) if name == "HEAD" else (f"refs/tags/{name}", f"refs/remotes/origin/{name}", name):
        done = run("git", "rev-parse", "--verify", "--quiet", f"{each}^{{commit}}", folder=TEMPLATE)
        if done.returncode == 0:
            return done.stdout.decode().strip()
    # a commit that no branch holds any more (rebased), or that lies before where a shallow clone begins
    fetched = run(
        "git", "fetch", "--quiet", "--no-tags", "origin", name, folder=TEMPLATE, env={"GIT_TERMINAL_PROMPT": "0"}
    )
    return None if fetched.returncode else git(TEMPLATE, "rev-parse", "FETCH_HEAD^{commit}")


def describe(commit: str) -> str:
    """What people call a commit: v0.2.0, v0.2.0-4-g5eed123 (four later), or its short id."""
    words = ("--tags", "--match", "v[0-9]*", "--always", commit)
    return git(TEMPLATE, "describe", *words)


def releases() -> list[str]:
    """The tags of the releases that lead to where the template stands, newest first."""
    names = git(TEMPLATE, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    return [name for name in names if re.fullmatch(r"v\d+\.\d+\.\d+", name)]


def newest(checkout: str | None) -> str:
    """What a project is updated to: the branch that it was generated from, the newest release, or what is there."""
    if checkout and holds(TEMPLATE, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{checkout}"):
        return checkout
    return next(iter(releases()), "HEAD")


def is_ancestor(older: str, newer: str) -> bool:
    return holds(TEMPLATE, "merge-base", "--is-ancestor", older, newer)


def read(commit: str, name: str) -> str:
    """A file of the template at a commit; nothing where it has none."""
    done = run("git", "show", f"{commit}:./{name}", folder=TEMPLATE)
    return done.stdout.decode() if done.returncode == 0 else ""


def news(then: str, now: str) -> list[str]:
    """The changelog's entries that are new, each with its kind."""

    def entries(text: str) -> list[str]:
        kind, found = "", []
        for line in text.splitlines():
            if line.startswith("#"):
                kind = line.lstrip("# ")
            elif line.startswith("- "):
                found.append(f"{kind}: {line[2:]}")
            elif line.startswith("  ") and found:
                found[-1] += f" {line.strip()}"
        return found

    known = set(entries(read(then, "CHANGELOG.md")))
    return [each for each in entries(read(now, "CHANGELOG.md")) if each not in known]


def migrations(then: str, now: str) -> list[dict[str, str]]:
    """The renamings that the project has not had yet, in their order."""
    old, new = (json.loads(read(commit, "updates/migrations.json") or "[]") for commit in (then, now))
    return [each for each in new if each not in old]


def render(commit: str, answers: dict[str, str], folder: Path) -> Path:
    """A project of these answers by the template of `commit`: its hooks run, without lock; what it commits is left."""
    source = folder / "template"
    source.mkdir(parents=True)
    archive = folder / "template.tar"
    git(TEMPLATE, "-c", "core.autocrlf=false", "archive", f"--output={archive}", commit)
    with tarfile.open(archive) as file:
        file.extractall(source, filter="data")
    config = folder / "config.yaml"  # not the user's: its defaults would answer what is asked anew
    config.write_text(json.dumps({"replay_dir": f"{folder}/replay", "cookiecutters_dir": f"{folder}/clones"}))
    known = json.loads((source / "cookiecutter.json").read_text(encoding="utf-8"))
    words = [f"{key}={value}" for key, value in answers.items() if key in known]
    options = ("--no-input", "--config-file", config, "--output-dir", folder / "made", source)
    env = {"COOKIECUTTER_MLPROJECT_LOCK": "no", "PWD": str(folder), "TMPDIR": str(folder)}  # it leaves files there
    done = run(sys.executable, "-m", "cookiecutter", *options, *words, folder=folder, env=env)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        hint = ": `uv run` starts this file with cookiecutter" if "No module named cookiecutter" in said[-1] else ""
        raise Refusal(f"the template at {describe(commit)} makes no project of these answers: {said[0]}{hint}")
    [made] = (folder / "made").iterdir()
    shutil.rmtree(made / ".git", ignore_errors=True)
    return made


# Trees


def read_tree(repository: Path, name: str) -> Tree:
    lines = git(repository, "ls-tree", "-r", "-z", "--full-tree", name).split("\0")
    return {
        path: (mode, each) for mode, _, each, path in (re.split(r"[ \t]", line, maxsplit=3) for line in lines if line)
    }


def write_tree(repository: Path, tree: Tree) -> str:
    index = {"GIT_INDEX_FILE": str(repository / ".git/index.new")}
    lines = "".join(f"{mode} {each}\t{path}\0" for path, (mode, each) in tree.items())
    git(repository, "read-tree", "--empty", env=index)
    git(repository, "update-index", "-z", "--index-info", env=index, input=lines.encode(errors="surrogateescape"))
    return git(repository, "write-tree", env=index)


def store_folder(repository: Path, folder: Path) -> Tree:
    """The files of a folder as a tree of the repository."""
    env = {
        "GIT_INDEX_FILE": str(repository / ".git/index.new"),
        "GIT_WORK_TREE": str(folder),
        "GIT_DIR": str(repository / ".git"),
    }
    git(folder, "read-tree", "--empty", env=env)
    git(folder, "add", "--all", "--force", ".", env=env)
    return read_tree(repository, git(folder, "write-tree", env=env))


def commit_tree(repository: Path, tree: str, *parents: str, message: str = "-", env: dict[str, str] = NOBODY) -> str:
    words = [word for parent in parents for word in ("-p", parent)]
    return git(repository, "commit-tree", tree, *words, env=env, input=message.encode())


def texts_of(repository: Path, tree: Tree, paths: Iterable[str]) -> dict[str, str]:
    """The texts of files; those that are not there, or hold no text, are left out."""
    files = [path for path in paths if tree.get(path, ("", ""))[0] in ("100644", "100755")]
    asked = "".join(f"{tree[path][1]}\n" for path in files).encode()
    rest, texts = run("git", "cat-file", "--batch", folder=repository, input=asked).stdout, {}
    for path in files:
        head, _, rest = rest.partition(b"\n")
        size = int(head.split()[-1])
        with contextlib.suppress(UnicodeDecodeError):
            texts[path] = rest[:size].decode()
        rest = rest[size + 1 :]
    return texts


def put(repository: Path, tree: Tree, path: str, text: str) -> None:
    mode = tree[path][0] if path in tree else "100644"
    tree[path] = (mode, git(repository, "hash-object", "-w", "--stdin", input=text.encode()))


def scratch(project: Path, folder: Path) -> Path:
    """A repository that borrows the project's objects and has none of its branches."""
    repository = folder / "project"
    git(folder, "init", "--quiet", "--template=", repository)
    for key, value in SETTINGS.items():
        git(repository, "config", key, value)
    objects, shallow, common = git(
        project,
        "rev-parse",
        "--path-format=absolute",
        "--git-path",
        "objects",
        "--git-path",
        "shallow",
        "--git-common-dir",
    ).splitlines()
    (repository / ".git/info").mkdir(exist_ok=True)
    (repository / ".git/objects/info/alternates").write_text(f"{objects}\n")
    if Path(shallow).exists():
        shutil.copy(shallow, repository / ".git/shallow")
    git(repository, "config", "lfs.storage", f"{common}/lfs")  # where its large files lie, if it has any
    return repository


# What was renamed


def migrate(text: str, path: str, moves: list[dict[str, str]]) -> str:
    """A file's text with the new names of configuration keys (`key`) and modules or functions (`name`)."""
    for move in moves:
        if "key" in move:
            *parents, last = move["key"].split(".")
            if path.startswith("conf/") and path.endswith(".yaml"):
                text = rename_key(text, package_of(text, path), parents, last, move["to"])
            if parents:  # -P gate.min_gain=0, ${gate.min_gain}, gate.min_gain in code
                start = re.escape(".".join(parents))
                text = re.sub(rf"(?<![\w.])({start}\.){re.escape(last)}(?!\w)", rf"\g<1>{move['to']}", text)
        elif "name" in move:
            text = re.sub(rf"(?<!\w){re.escape(move['name'])}(?!\w)", move["to"], text)
    return text


def package_of(text: str, path: str) -> list[str]:
    """The section that a file of conf/ fills: what its header says, or its folder."""
    header = re.match(r"#\s*@package\s+(\S+)", text)
    if header:
        return [] if header[1] == "_global_" else header[1].split(".")
    return path.split("/")[1:-1]


def rename_key(text: str, package: list[str], parents: list[str], last: str, new: str) -> str:
    """YAML in which the key `last` of the section `parents` is called `new`: line by line, so that comments stay."""
    within: list[tuple[int, str]] = [(-1, each) for each in package]
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        key = re.match(r"( *)([\w.]+)(\s*:(?=\s))(.*)", line, re.DOTALL)
        if not key:
            continue
        indent, name, colon, rest = key.groups()
        within = [each for each in within if each[0] < len(indent)]
        section = [each for _, each in within]
        if (section, name) == (parents, last):
            lines[number] = f"{indent}{new}{colon}{rest}"
        elif [*section, name] == parents:  # gate: {min_gain: 0}
            lines[number] = f"{indent}{name}{colon}" + re.sub(
                rf"([{{,]\s*){re.escape(last)}(?=\s*:)", rf"\g<1>{new}", rest
            )
        within.append((len(indent), name))
    return "".join(lines)


# The lock


def pins(requirements: str | None) -> dict[str, str]:
    """The lines of requirements.txt by the package they pin."""
    found: dict[str, str] = {}
    for block in re.findall(r"^[A-Za-z0-9].*(?:\n[ \t].*)*\n?", requirements or "", re.MULTILINE):
        name = re.match(r"[\w.-]+", block)[0]
        found[name] = found.get(name, "") + block
    return found


def version(block: str) -> list[int]:
    return [int(each) for each in re.findall(r"\d+", re.search(r"==\s*([^\s;]+)", block)[1])]


def merge_pins(then: str, yours: str, now: str) -> str:
    """The template's pins of now, and the owner's where only they moved one, or have one more, or have a newer one."""
    old, own, new = map(pins, (then, yours, now))

    def choose(name: str) -> str:
        if name not in new or (name in own and new[name] == old.get(name)):
            return own[name]
        return max(new[name], own.get(name, new[name]), key=version) if own.get(name) != old.get(name) else new[name]

    head = re.match(r"(?:#.*\n)*", now)[0]
    return head + "".join(choose(name) for name in sorted(new | own))


def align_locks(repository: Path, base: Tree, ours: Tree, theirs: Tree) -> bool:
    """Whether the lock has to be made again; takes what it consists of out of the merge."""
    if all(base.get(name) == theirs.get(name) for name in ("pyproject.toml", "requirements.txt")):
        return False
    then, yours, now = (texts_of(repository, tree, LOCKS[:2]) for tree in (base, ours, theirs))
    pinned, listed = ([each[name] for each in (then, yours, now) if name in each] for name in LOCKS[:2])
    if len(pinned) == 3:
        for tree in (theirs, base, ours):
            put(repository, tree, LOCKS[0], merge_pins(*pinned))
    if len(listed) == 3:
        tail = listed[2].partition("- pip:\n")[2]
        for tree, text in ((base, listed[0]), (ours, listed[1])):
            put(repository, tree, LOCKS[1], text.partition("- pip:\n")[0] + "- pip:\n" + tail)
    return True


def make_lock(folder: Path) -> str:
    """Why the lock of the project in `folder` could not be made; nothing where it is there."""
    kept = (folder / "uv.lock").read_bytes() if (folder / "uv.lock").exists() else None
    reason = "make is not installed"
    for attempt in ("the template's versions", "its own"):  # which may not go together with what the owner asks for
        if attempt == "its own" and kept is None:
            break
        (folder / "uv.lock").unlink(missing_ok=True)
        if attempt == "its own":
            (folder / "uv.lock").write_bytes(kept)
        done = run("make", "lock", folder=folder) if shutil.which("make") else None
        if done and done.returncode == 0:
            return ""
        if done:
            lines = [line.strip(" ×") for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
            reason = next((line for line in lines if not line.startswith(("make", "Using ", "Resolved "))), reason)
    if kept is not None:
        (folder / "uv.lock").write_bytes(kept)
    return reason


# The merge


def merge(repository: Path, base: Tree, ours: Tree, theirs: Tree) -> dict[str, list[str]]:
    """Merges in the repository's folder and index; what was decided, as sentences about paths by their kind."""
    start = commit_tree(repository, write_tree(repository, base))
    for name, tree in (("yours", ours), ("template", theirs)):
        git(repository, "branch", name, commit_tree(repository, write_tree(repository, tree), start))
    git(repository, "checkout", "--quiet", "yours")
    done = run("git", "merge", "--quiet", "--no-commit", "--no-ff", "template", folder=repository, env=NOBODY)
    stages: dict[str, set[str]] = {}
    for line in git(repository, "ls-files", "--unmerged", "-z").split("\0"):
        if line:
            stages.setdefault(line.partition("\t")[2], set()).add(line.partition("\t")[0][-1])
    if done.returncode and not stages:
        raise Refusal(f"git could not merge: {done.stderr.decode(errors='replace').strip()}")
    found: dict[str, list[str]] = {"conflicts": [], "left out": []}
    for path, seen in stages.items():
        place = repository / path
        if "2" not in seen and "1" in seen:  # what was deleted stays deleted
            git(repository, "rm", "--quiet", "--force", "--", path)
            found["left out"] += [path] if "3" in seen else []
        elif "3" not in seen:
            found["conflicts"].append(f"{path}: the template has dropped it, you had changed it; yours is kept")
        elif "2" not in seen:
            found["conflicts"].append(f"{path}: you and the template gave it different names; both are there")
        else:
            lines = place.read_bytes().split(b"\n") if place.is_file() else []
            marks = [str(number) for number, line in enumerate(lines, 1) if line.startswith(b"<<<<<<< ")]
            if not marks or place.suffix in WHOLE:
                git(repository, "checkout", "--ours", "--", path)
                found["conflicts"].append(f"{path}: changed by both; yours is kept, the template's is not in it")
            else:
                found["conflicts"].append(f"{path}: changed by both at line {', '.join(marks)}")
    # A part that was deleted, such as a job's folder, does not come back by what the template adds to it.
    folders = {str(Path(path).parent) for path in base} - {str(Path(path).parent) for path in ours}
    for path in set(theirs) - set(base) - set(ours):
        if str(Path(path).parent) in folders and (repository / path).exists():
            git(repository, "rm", "--quiet", "--force", "--", path)
            found["left out"].append(path)
    git(repository, "add", "--all")
    return found


def some(names: list[str], most: int = 4) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def compare(package: str, trees: tuple[Tree, Tree, Tree], result: Tree, found: dict[str, list[str]]) -> list[str]:
    """What the update does to the machinery and to what is the owner's; `trees` are those before the merge."""
    base, ours, _ = trees
    inside = f"{package}/machinery/"
    edited = [path for path in ours if path.startswith(inside) and base.get(path) != ours[path]]
    changed = [path for path in {**ours, **result} if ours.get(path) != result.get(path)]
    lines = []
    counts = {"changed": 0, "new": 0, "dropped": 0}
    for path in (path for path in changed if path.startswith(inside)):
        counts["new" if path not in ours else "dropped" if path not in result else "changed"] += 1
    if any(counts.values()):
        lines.append("machinery  " + ", ".join(f"{count} files {kind}" for kind, count in counts.items() if count))
    for path in sorted(edited):
        where = "in conflict" if any(each.startswith(f"{path}:") for each in found["conflicts"]) else "kept"
        lines.append(f"  yours in the machinery, {where}: {path}")
    if edited:
        lines.append("  such an edit lasts longest in a room of yours or in the template: docs/updating.md there")
    rest = [path for path in changed if not path.startswith(inside) and path not in (ANSWERS, *LOCKS)]
    groups = {
        "new files": [path for path in rest if path not in ours],
        "dropped files": [path for path in rest if path not in result],
        "merged with what you wrote": [
            path for path in rest if path in ours and path in result and ours[path] != base.get(path)
        ],
        "brought up to date": [
            path for path in rest if path in ours and path in result and ours[path] == base.get(path)
        ],
    }
    lines += [f"{kind}  {some(paths)}" for kind, paths in groups.items() if paths]
    if found["left out"]:
        lines.append(f"left out, as you deleted it  {some(found['left out'])}")
    return lines


def ask(kept: dict, made: Path, given: dict[str, str], commit: str) -> dict[str, str]:
    """Answers to the questions that are new: typed where somebody sits at a terminal, else the defaults."""
    answers = json.loads((made / ANSWERS).read_text(encoding="utf-8"))
    prompts = json.loads(read(commit, "cookiecutter.json")).get("__prompts__", {})
    typed = {}
    for key, default in answers.items():
        if key.startswith("_") or key in kept or key in given:
            continue
        if sys.stdin.isatty():
            typed[key] = input(f"{prompts.get(key, key)} [{default}]: ") or default
        else:
            print(f"{key}={default} (a new question's default; `make update ARGS={key}=...` answers it otherwise)")
    return {key: value for key, value in typed.items() if value != answers[key]}


def read_answers(words: list[str], commit: str) -> dict[str, str]:
    """What was answered on the command line, to questions that the template has."""
    questions = [key for key in json.loads(read(commit, "cookiecutter.json")) if key[0] != "_" and key not in FIXED]
    answers = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or key not in questions:
            raise Refusal(f"{word}: an update takes question=answer for {', '.join(questions)}")
        answers[key] = value
    return answers


def test(folder: Path) -> tuple[bool, str]:
    """Whether the project's tests pass, and what they said."""
    if not shutil.which("make"):
        return False, "make is not installed"
    done = run("make", "test", folder=folder)
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    if done.returncode == 0:
        return True, lines[-1].strip("= ")
    failed = [line.split(" - ")[0].split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    error = done.stderr.decode(errors="replace").strip().splitlines()[:1]
    return False, some(failed) or (error or lines[-1:] or ["they did not start"])[0]


# The command


def check(project: Path) -> dict:
    """The project's answers; refused where it is none, or holds what is not committed."""
    try:
        kept = json.loads((project / ANSWERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal(f"{project} holds no {ANSWERS}: --project names the folder of a generated project") from None
    except ValueError as error:
        raise Refusal(f"{project / ANSWERS} is no JSON ({error}): mend it first") from None
    if not holds(project, "rev-parse", "--verify", "--quiet", "HEAD:./"):
        raise Refusal(
            f"{project} is in no git repository that holds it: `git init`, `git add .` and `git commit` first"
        )
    changed = [
        line[3:] for line in git(project, "status", "--porcelain", "--untracked-files=no", "--", ".").splitlines()
    ]
    # a table that `predict` wrote may lie about, but not a file that the update would have to bring along
    rooms = ("conf", "tests", kept["package_name"])
    if changed := changed + git(project, "ls-files", "--others", "--exclude-standard", "--", *rooms).splitlines():
        raise Refusal(f"{some(changed)}: not committed; commit or stash first, then update")
    return kept


def choose_commits(kept: dict, begin: str | None, to: str | None) -> tuple[str, str]:
    """The template's commits of then and of now."""
    names = f"its releases: {', '.join(releases()) or 'none yet'}"
    start, target = begin or kept.get("_commit"), to or newest(kept.get("_checkout"))
    if not start and f"v{kept.get('_release')}" in releases():  # an archive or a copy of that release has no commit
        start = f"v{kept['_release']}"
    if not start:
        raise Refusal(f"{ANSWERS} names no commit of the template: --from COMMIT names the one of then ({names})")
    then, now = find_commit(start), find_commit(target)
    if not then:
        where = f"the template has no commit {start[:12]}, of which the project was made (is it rebased away?)"
        raise Refusal(f"{where}: --from COMMIT names the nearest ({names})")
    if not now:
        raise Refusal(f"the template has no tag, branch or commit {to} ({names})")
    if then != now and is_ancestor(now, then):
        if to:
            raise Refusal(
                f"the project is from {describe(then)}, which is later than {to}: an update goes forward only"
            )
        now = then
    return then, now


def render_both(kept: dict, given: dict[str, str], commits: tuple[str, str], address: str, folder: Path) -> list[Path]:
    """The project as the templates of then and of now render it; the latter with the answers as they are now."""
    then, now = commits
    answers = {key: value for key, value in kept.items() if not key.startswith("_")}
    renamed = {each["answer"]: each["to"] for each in migrations(then, now) if "answer" in each}
    anew = {renamed.get(key, key): value for key, value in answers.items()} | given
    with ThreadPoolExecutor() as pool:
        old, new = pool.map(render, commits, (answers, anew), (folder / "then", folder / "now"))
    if more := ask(anew, new, given, now):
        new = render(now, anew | more, folder / "asked")
    facts = json.loads((new / ANSWERS).read_text(encoding="utf-8"))
    facts |= {"_template": address, "_checkout": kept.get("_checkout"), "_commit": now}
    (new / ANSWERS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [old, new]


def rename_all(repository: Path, base: Tree, ours: Tree, package: str, moves: list[dict[str, str]]) -> list[str]:
    """Gives what was renamed its new names on both sides, outside of the machinery; the owner's files that had them."""
    moved = []
    for tree in (base, ours) if moves else ():
        paths = [path for path in tree if not path.startswith(f"{package}/machinery/")]
        for path, text in texts_of(repository, tree, paths).items():
            if (other := migrate(text, path, moves)) != text:
                put(repository, tree, path, other)
                moved += [path] if tree is ours else []
    return moved


def summarize(entries: list[str], effects: list[str], moves: list[dict[str, str]], moved: list[str]) -> list[str]:
    """In a few lines, what is new and what that does."""
    lines = [f"news  {each[:110]}{'…' if len(each) > 110 else ''}" for each in entries[:4]]
    lines += [f"news  {len(entries) - 4} more entries of the template's CHANGELOG.md"] if len(entries) > 4 else []
    if moved:
        words = [f"{each.get('key') or each.get('name')} -> {each['to']}" for each in moves if "answer" not in each]
        effects = [*effects, f"renamed  {', '.join(words)}: in {some(moved)}"]
    return lines + effects


def finish(repository: Path, conflicts: list[str], locking: bool, testing: bool) -> tuple[list[str], bool]:
    """Makes the lock and runs the tests on what was merged; what came of it, and whether all is well."""
    lines, good = [f"conflict  {each}" for each in sorted(conflicts)], not conflicts
    if locking and any(each.startswith("pyproject.toml:") for each in conflicts):
        lines.append("lock  once pyproject.toml is mended: `make lock`")
    elif locking:
        print("making the lock again", file=sys.stderr)
        reason = make_lock(repository)
        for name in (name for name in LOCKS if (repository / name).exists()):
            run("git", "add", "--", name, folder=repository)
        lines.append(f"lock  not made again ({reason}): `make lock` on the branch" if reason else "lock  made again")
        good = good and not reason
    if testing and good:
        print("running the tests", file=sys.stderr)
        git(repository, "update-ref", "HEAD", commit_tree(repository, git(repository, "write-tree")))
        good, said = test(repository)
        lines.append(f"tests  {said}" if good else f"tests  failed: {said}")
    elif testing:
        lines.append("tests  not run: `make test` on the branch, once the rest is mended")
    return lines, good


def update(arguments: argparse.Namespace, folder: Path) -> int:
    """The command's exit code; everything that is not the project's yet lies in `folder`."""
    project = Path(arguments.project).resolve()
    kept = check(project)
    then, now = choose_commits(kept, arguments.begin, arguments.to)
    first, last = describe(then), describe(now)
    given = {key: value for key, value in read_answers(arguments.answers, now).items() if kept.get(key) != value}
    if then == now and not given:
        later = f"; the template is at {describe('HEAD')}: --to HEAD takes that" if not is_ancestor("HEAD", now) else ""
        print(f"{project.name} is up to date with the template's {last}{later}")
        return 0
    head, prefix = git(project, "rev-parse", "HEAD"), git(project, "rev-parse", "--show-prefix")
    words = [re.sub(r"[^\w.-]", "-", f"{key}-{value}") for key, value in given.items()]
    branch = f"update/{prefix}" + "-".join([last, *words])
    if holds(project, "show-ref", "--quiet", f"refs/heads/{branch}"):
        raise Refusal(f"the branch {branch} is of the last update: merge it, or `git branch -D {branch}` and again")

    address = arguments.address or kept.get("_template")
    old, new = render_both(kept, given, (then, now), address, folder)
    repository, package = scratch(project, folder), kept["package_name"]
    before = store_folder(repository, old), read_tree(repository, f"{head}:{prefix}"), store_folder(repository, new)
    if all(before[0].get(path) == before[2].get(path) for path in {**before[0], **before[2]} if path != ANSWERS):
        print(f"{project.name} is up to date: what the template changed from {first} to {last} is in no project")
        return 0
    base, ours, theirs = map(dict, before)
    moves = migrations(then, now)
    moved = rename_all(repository, base, ours, package, moves)
    base[ANSWERS] = ours[ANSWERS] = theirs[ANSWERS]
    locking = align_locks(repository, base, ours, theirs)
    found = merge(repository, base, ours, theirs)
    result = read_tree(repository, git(repository, "write-tree"))
    lines = summarize(news(then, now), compare(package, before, result, found), moves, moved)
    last_lines, good = finish(repository, found["conflicts"], locking and not arguments.dry_run, arguments.test)
    way = f"from the template's {first} to {last}" if then != now else f"the template's {last}"
    title = ", ".join([way, *(f"{key}={value}" for key, value in given.items())])
    print("\n".join([f"{project.name}: {title}", *lines, *last_lines]))
    if arguments.dry_run:
        print(f"nothing was changed: without --dry-run this becomes the branch {branch}")
        return 0 if good else LOOK
    text = "\n".join([f"Update: {title}", "", *lines, *last_lines])
    publish(project, repository, git(repository, "write-tree"), branch, text)
    if good:
        print(f"take it: git merge {branch}   look at it: git diff HEAD...{branch}   leave it: git branch -D {branch}")
    else:
        print(f"mend it: git switch {branch}, then git commit, and merge it   leave it: git branch -D {branch}")
    return 0 if good else LOOK


def publish(project: Path, repository: Path, tree: str, branch: str, message: str) -> None:
    """The project's one change: a branch that is one commit ahead of where it stands."""
    head, prefix = git(project, "rev-parse", "HEAD"), git(project, "rev-parse", "--show-prefix")
    if prefix:  # the project is a folder of a larger repository
        index = {"GIT_INDEX_FILE": str(repository / ".git/index.new")}
        git(repository, "read-tree", head, env=index)
        git(repository, "rm", "-r", "--quiet", "--cached", "--", prefix, env=index)
        git(repository, "read-tree", f"--prefix={prefix}", tree, env=index)
        tree = git(repository, "write-tree", env=index)
    known = holds(project, "var", "GIT_COMMITTER_IDENT")
    who = {}
    if known:
        for kind in ("AUTHOR", "COMMITTER"):
            name, email = re.match(r"(.*) <(.*)> ", git(project, "var", f"GIT_{kind}_IDENT")).groups()
            who |= {f"GIT_{kind}_NAME": name, f"GIT_{kind}_EMAIL": email}
    commit = commit_tree(repository, tree, head, message=message, env=who or NOBODY)
    git(repository, "branch", "update", commit)
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--update-shallow")
    git(project, "fetch", *options, repository, f"refs/heads/update:refs/heads/{branch}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "answers", nargs="*", metavar="question=answer", help="answered otherwise than before, or a new question"
    )
    parser.add_argument("--project", default=".", help="the folder of the project: here")
    parser.add_argument("--to", help="a tag, branch or commit of the template: the newest release, where it has one")
    parser.add_argument(
        "--from", dest="begin", metavar="COMMIT", help=f"the template of then, where {ANSWERS} does not know it"
    )
    parser.add_argument("--address", help="where the project finds its template from now on: where it did")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")
    parser.add_argument("--no-test", dest="test", action="store_false", help="do not run the project's tests")
    arguments = parser.parse_args()
    arguments.test = arguments.test and not arguments.dry_run
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with tempfile.TemporaryDirectory(prefix="update-", ignore_cleanup_errors=True) as folder:
            return update(arguments, Path(folder).resolve())
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):  # at a question, too
        print("stopped: nothing was changed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
