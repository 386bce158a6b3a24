"""A release, `make release VERSION=0.2.0`: what is Unreleased in CHANGELOG.md gets a number, a day and a tag.

The number stands in three places that a test holds together: the changelog, pyproject.toml, and `_release` in
cookiecutter.json, from where a project has it. The tag v0.2.0 holds the release's entries as its text.
"""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"pyproject.toml": r'^version = "(.*)"$', "cookiecutter.json": r'^  "_release": "(.*)",$'}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def section(text: str, name: str) -> str | None:
    """What stands below a heading of the changelog; None where it has no such heading."""
    found = re.search(rf"^## \[{re.escape(name)}\].*\n((?:(?!## \[).*\n)*)", text, re.MULTILINE)
    return found and found[1].strip()


def release(version: str) -> str:
    """Makes the release; gives what to do then. Refused, nothing is changed."""
    tag, file = f"v{version}", ROOT / "CHANGELOG.md"
    text = file.read_text(encoding="utf-8")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.exit(f"VERSION={version} is no number such as 0.2.0: major.minor.patch")
    if git("tag", "--list", tag):
        sys.exit(f"{tag} is there since {git('log', '-1', '--format=%cs', tag)}: take the next number")
    if changed := git("status", "--porcelain"):
        sys.exit(f"not committed: {changed.splitlines()[0].split(maxsplit=1)[1]}; a release is what is committed")
    if section(text, version) is None:  # 0.1.0 had its section before its tag
        entries = section(text, "Unreleased")
        if not entries:
            sys.exit("CHANGELOG.md has nothing under Unreleased: say there what is new, a line each")
        heading = f"## [Unreleased]\n\n## [{version}] - {date.today()}\n\n{entries}\n"
        texts = {"CHANGELOG.md": text.replace(f"## [Unreleased]\n\n{entries}\n", heading, 1)}
        for name, line in PLACES.items():
            old = (ROOT / name).read_text(encoding="utf-8")
            last = re.search(line, old, re.MULTILINE)
            if [*map(int, last[1].split("."))] >= [*map(int, version.split("."))]:
                sys.exit(f"{version} does not come after {last[1]}, which {name} has")
            texts[name] = old[: last.start(1)] + version + old[last.end(1) :]
        for name, new in texts.items():
            (ROOT / name).write_text(new, encoding="utf-8")
        git("commit", "--quiet", "--all", "--message", f"Release {version}")
        text = texts["CHANGELOG.md"]
    git("tag", "--annotate", "--cleanup=whitespace", tag, "--message", f"{version}\n\n{section(text, version)}")
    return f"{tag} is here; `git push origin HEAD {tag}` gives it to the projects"


if __name__ == "__main__":
    print(release(sys.argv[1] if len(sys.argv) > 1 else ""))
