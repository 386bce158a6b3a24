"""What goes wrong for a reason that a person can act on, and the exit codes of `python -m <package>`.

     0  done, or nothing had to be done
     1  anything else: data that cannot be used, a model that cannot be fitted, an error of a library
     2  ConfigError: the configuration or the command line has to be changed
     3  an alarm: of `monitor`, by the rows or the server; of `deploy action=status`, where a server does not answer
     4  GateFailed: the candidate failed its gate, and gate.on_fail=error
    75  Unavailable: a server, a database or a lock: the same command may succeed later
   130  interrupted

`mlflow run` knows 0 and 1 only: there the code is the tag `exit_code` of the run, and outputs/last.json has it too.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import StageResult

INTERRUPTED = 130
NO_PLACE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)  # something else stands there
CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, *NO_PLACE}
MOST_SAID = 1000  # characters of what a library says


class ProjectError(ValueError):
    """One sentence that names the value and the way out; it ends the command, without a traceback.

    `outcome` is a result that is logged all the same, and never reused.
    """

    code = 1
    about = ""  # which model of which dataset was meant, where the sentence does not say

    def __init__(self, sentence: str, outcome: StageResult | None = None) -> None:
        super().__init__(sentence)
        self.outcome = outcome

    def sentence(self, private: bool) -> str:
        """The sentence; where values are `private`, without what a library said, which may name some."""
        if not private or self.__cause__ is None or isinstance(self.__cause__, OSError | ProjectError):
            return f"{self}{self.about}"
        return f"{str(self).partition(': ')[0]}: the reason is withheld (columns.sensitive){self.about}"


class ConfigError(ProjectError):
    """The configuration or the command line has to be changed."""

    code = 2


class DataError(ProjectError):
    """The source cannot be read, or its table does not have the columns, the values or the rows that are needed."""


class GateFailed(ProjectError):
    """A candidate failed its gate where that is an error: gate.on_fail=error."""

    code = 4


class Unavailable(ProjectError):
    """A server, a database or a lock is not to be had now; the same command may succeed later."""

    code = 75  # EX_TEMPFAIL of sysexits.h


def one_line(error: object) -> str:
    """What a library says in `error`, whose lines are many, for the end of a sentence."""
    line = " ".join(str(error).split())
    return line if len(line) <= MOST_SAID else f"{line[:MOST_SAID]} ..."


def inert(value: object) -> str:
    """`value`, text out of a table, in one line that a log, a page of Markdown or a chat takes for text: line ends and
    backticks as \\n and \\x60, what GitHub's logs would take for a command likewise."""
    text = re.sub(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]", lambda each: repr(each[0])[1:-1], str(value)
    )
    return text.replace("`", r"\x60").replace("::", r":\x3a").replace("##[", r"#\x23[")


def cut(texts: Collection[str], most: int = 500) -> str:
    """`texts` in a line of at most some `most` letters, and how many are left out: "a, b ... and 12 more"."""
    lengths = accumulate(len(text) + 2 for text in texts)
    count = max(1, sum(length <= most for length in lengths))
    more = f" ... and {len(texts) - count:,} more" if count < len(texts) else ""
    return ", ".join([*texts][:count]) + more


def close(word: str, known: Collection[str], otherwise: str | None = None) -> str:
    """The end of a sentence about an unknown `word`: what was meant, or else `otherwise`, or what is `known`."""
    known = [name for name in known if not (name.startswith("_") and name.endswith("_"))]  # without _target_
    meant = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if meant:
        return f"; did you mean {meant[0]}?"
    return f"; it takes {', '.join(known)}" if otherwise is None else otherwise


@contextmanager
def sentences() -> Iterator[None]:
    """Makes errors of the code that travels with models, which cannot import this module, errors of the project."""
    try:
        yield
    except ValueError as error:
        if type(error).__name__ != "DeriveError":
            raise
        raise ConfigError(str(error)) from error.__cause__
