"""HTML pages that need no network."""

from __future__ import annotations

from typing import Any

import jinja2


def profile(**values: Any) -> str:
    """The page of a profile: `title`, `summary`, `target`, `sampled`, and `rows`: what is decided of each column."""
    loader = jinja2.PackageLoader(__package__, "")
    return jinja2.Environment(loader=loader, autoescape=True).get_template("profile.html").render(**values)
