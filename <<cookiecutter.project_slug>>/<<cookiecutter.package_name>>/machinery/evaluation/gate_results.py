"""The gates of a project run one after the other, each by the evidence on one candidate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ProjectError

if TYPE_CHECKING:
    from .result import EvaluationResult

NO_GATES = ("on_fail",)  # keys of the section gate that say what a failure means


@dataclass(frozen=True)
class GateResult:
    name: str
    passed: bool
    sentence: str  # why


@dataclass(frozen=True)
class Evidence:
    """What the gates judge a candidate by."""

    evaluation: EvaluationResult
    confidence: float  # of the intervals in it
    min_rows: int  # a slice of fewer rows does not count
    expectations: int  # how many the data met
    dirty: str  # whether the work tree has changes that are in no commit: "true", "false", "unknown"
    rolled_back: str  # when and why this model was taken back: "on 2026-11-02 by ana: ..."; "" if it was not
    served: Callable[[], tuple[int, str]]  # serves the model, for a minute: rows posted, and what is wrong, or ""
    failed: bool = False  # whether a gate before this one has failed


def gates(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The gates that `module` defines: its public functions that take the `evidence`, by name."""
    functions = {
        name: each
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__ and not name.startswith("_")
    }
    return {name: each for name, each in functions.items() if "evidence" in inspect.signature(each).parameters}


def results(module: ModuleType, limits: Any, evidence: Evidence) -> list[GateResult]:
    """What the gates of `module` say, in the order of the fields of the section `limits`; null leaves one out.

    Gates that take no limit stand first: they always hold.
    """
    functions, so_far = gates(module), list[GateResult]()
    always = [name for name, each in functions.items() if "limit" not in inspect.signature(each).parameters]
    for name in [*always, *_keys(limits)]:
        now = replace(evidence, failed=any(not each.passed for each in so_far))
        if name in always:
            given = functions[name](now)
        elif (limit := getattr(limits, name)) is not None:
            given = functions[name](limit, now)
        else:
            continue
        so_far += given if isinstance(given, list) else [given] if given else []
    return so_far


def refuse_unmatched(module: ModuleType, limits: Any) -> None:
    """Raises ProjectError where the section `limits` has a key without a gate in `module`, or a gate has no key."""
    functions, keys = gates(module), _keys(limits)
    for name in keys:
        if name not in functions:
            raise ProjectError(
                f"gate.{name}: gates.py has no function {name}(limit, evidence): write one, or take the key out of "
                "config.Gate and conf/gate/"
            )
    for name, function in functions.items():
        if name not in keys and "limit" in inspect.signature(function).parameters:
            raise ProjectError(
                f"gates.{name} is called by nobody: give it a field `{name}` in config.Gate, and a value in "
                "conf/gate/default.yaml"
            )


def _keys(limits: Any) -> list[str]:
    return [field.name for field in fields(limits) if field.name not in NO_GATES]
