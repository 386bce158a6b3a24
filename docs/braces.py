"""Writes the template with other delimiters: `{{= =}}`, `{%= =%}`, `{#= =#}`, for what takes no `<` in a folder's name.

That is Windows, and cruft, which looks for `{{` there. What it renders is the same, byte for byte.
    python3 docs/braces.py FOLDER
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ["cookiecutter.json", "hooks", "templates", "updates", "<<cookiecutter.project_slug>>"]
PARTS += ["CHANGELOG.md", "LICENSE", "SECURITY.md"]
# A token with what ends it; what only looks like one, such as a shell's `>>` or `<#` inside of another, is left.
TOKEN = re.compile(r"<<(.*?)>>|<%(.*?)%>|<#(.*?)#>", re.DOTALL)
FORMS = ["{{=%s=}}", "{%%=%s=%%}", "{#=%s=#}"]
README = """# cookiecutter-mlproject, with braces

The template of {address} with other delimiters, for Windows and for cruft.
It is made by `make braces` there: change nothing here.

```sh
uvx cookiecutter {address} --checkout braces
uvx cookiecutter {address}/releases/latest/download/braces.zip    # the same, where there is no git
```
"""


def converted(text: str) -> str:
    """A text of the template with each pair of delimiters replaced."""
    return TOKEN.sub(lambda found: FORMS[found.lastindex - 1] % found[found.lastindex], text)


def write(target: Path) -> None:
    """The template into the new folder `target`."""
    listed = subprocess.run(["git", "ls-files", "-z", *PARTS], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().rstrip("\0").split("\0"):
        path = target / converted(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path)  # with its mode
        if not name.startswith("updates/"):  # which is run, not rendered
            path.write_bytes(converted(path.read_bytes().decode()).encode())
    marks = json.loads((target / "cookiecutter.json").read_text(encoding="utf-8"))["_jinja2_env_vars"]
    assert marks["variable_start_string"] == "{{=" and marks["comment_end_string"] == "=#}", marks
    address = re.search(r"repository-code: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))[1]
    (target / "README.md").write_text(README.format(address=address), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
