"""Expectations checked in the second process, for importing Great Expectations takes seconds."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ProjectError, one_line

if TYPE_CHECKING:
    from ..pipeline.store import Store


class Checked(NamedTuple):
    failures: list[str]  # a line for each expectation that failed
    notes: list[str]  # what is left out, for columns.sensitive
    texts: dict[str, str]  # files: the page, and all results as JSON


def held_to(store: Store, stage: str, expectations: list[dict[str, Any]], *, sensitive: Collection[str]) -> Checked:
    """What the table of `stage` makes of `expectations`, without values of the columns `sensitive`.

    Raises ProjectError for an unknown type of expectation, and for a wrong argument.
    """
    plain = json.loads(json.dumps(expectations, default=str))
    table = str(store.file(stage).absolute())
    answer = store.engine.aside(_answer, table=table, expectations=plain, sensitive=[*sensitive])
    if refused := answer.get("refused"):
        raise ProjectError(refused) from RuntimeError("in the other process")  # what a library says may name values
    return Checked(**answer)


def _answer(**request: Any) -> dict[str, Any]:
    from .expectations import answer

    try:
        return answer(**request)
    except Exception as error:
        return {"refused": one_line(error)}
