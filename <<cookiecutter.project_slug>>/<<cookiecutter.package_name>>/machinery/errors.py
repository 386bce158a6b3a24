"""What goes wrong for a reason that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import StageResult


class ProjectError(ValueError):
    """One sentence that names the value and the way out; it ends the command, without a traceback.

    `outcome` is what there is to look at all the same: it is logged, and never reused.
    """

    def __init__(self, sentence: str, outcome: StageResult | None = None) -> None:
        super().__init__(sentence)
        self.outcome = outcome

    def told(self, private: bool) -> str:
        """The sentence; where values are `private`, without what a library said, which may name some."""
        if not private or self.__cause__ is None or isinstance(self.__cause__, OSError | ProjectError):
            return str(self)
        return f"{str(self).partition(': ')[0]}: the reason is withheld (columns.sensitive)"


@contextmanager
def sentences() -> Iterator[None]:
    """Makes errors of the code that travels with models, which cannot import this module, errors of the project."""
    try:
        yield
    except ValueError as error:
        if type(error).__name__ != "DeriveError":
            raise
        raise ProjectError(str(error)) from error.__cause__
