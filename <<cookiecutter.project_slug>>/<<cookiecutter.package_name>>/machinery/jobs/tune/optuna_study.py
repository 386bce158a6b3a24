"""A search for better settings: what may be tried, what to try next, what was found. Optuna's part of it."""

from __future__ import annotations

import json
import os
import warnings
from hashlib import blake2b
from operator import sub
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import polars as pl
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ...errors import ProjectError

SEEN = ("model.", "features.", "task.linear.", "task.transform")  # of all that decides a model, what may be tried
NUMBER, RUN, SCORES, CAUSE = "number", "run", "scores", "cause"  # what is noted of a trial
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
STATES["interrupted"] = TrialState.FAIL
RANGE: Any = ("low", "high", "log", "step")
KEPT = 75.0  # percent: by few folds a good trial is easily among the worse half
STARTUP, WARMUP = 5, 2  # before that many trials, and folds of a trial, none is pruned: there is too little to go by


def flat(space: dict[str, Any], at: str = "") -> dict[str, Any]:
    """The ranges and lists of a nested `space` by the full names of their keys: {"model.C": {"low": 1, "high": 9}}."""
    leaves: dict[str, Any] = {}
    for name, value in space.items():
        inner = isinstance(value, dict) and value and not {*RANGE[:2]} & {*value}
        leaves |= flat(value, f"{at}{name}.") if inner else {f"{at}{name}": value}
    return leaves


def distributions(space: dict[str, Any]) -> dict[str, BaseDistribution]:
    """What Optuna draws each key of a flat `space` from. Raises ProjectError for what is neither a range nor a list."""
    if not space:
        raise ProjectError(
            "tune.space is empty: conf/tune/ has examples, such as {model: {max_depth: {low: 2, high: 12}}}"
        )
    for key in space:
        if not key.startswith(SEEN):
            raise ProjectError(f"tune.space.{key}: model, features, task.linear and task.transform can be tuned")
    return {key: _distribution(f"tune.space.{key}", spec) for key, spec in space.items()}


def values(space: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The values that Optuna's `params` stand for."""
    lists = {key: {_choice(each): each for each in spec} for key, spec in space.items() if isinstance(spec, list)}
    return {key: lists[key][value] if key in lists else value for key, value in params.items()}


def ends(space: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each key of a flat `space` with each value that it has to take: all of a list, both ends of a range."""
    sides = {key: spec if isinstance(spec, list) else [spec["low"], spec["high"]] for key, spec in space.items()}
    return [(key, value) for key, each in sides.items() for value in each]


def opened(file: Path, *, pruning: bool) -> optuna.Study:
    """The study in the journal `file`, which no other process has open; trials that were cut short have ended."""
    _repair_journal(file)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.PercentilePruner(KEPT, STARTUP, WARMUP) if pruning else optuna.pruners.NopPruner()
    storage = JournalStorage(JournalFileBackend(str(file)))
    study = optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", pruner=pruner, load_if_exists=True
    )
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    return study


def _repair_journal(file: Path) -> None:
    """Makes Optuna's journal one that it can go on with after any kill.

    That is without a last line of which only a part was written, and without the lock of a process that is gone.
    """
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        whole = file.read_bytes().rpartition(b"\n")
        os.truncate(file, len(whole[0]) + len(whole[1]))


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that are over, by their numbers; those that were interrupted do not count, and are made again."""
    found = [each for each in study.get_trials(deepcopy=False) if each.state.is_finished()]
    found = [each for each in found if each.value is not None or CAUSE in each.user_attrs]
    return sorted(found, key=lambda each: each.user_attrs[NUMBER])


def ask(
    study: optuna.Study, among: dict[str, BaseDistribution], *, first: dict[str, Any], number: int, seed: int
) -> optuna.Trial:
    """The trial of that number, drawn by the seed, the number and the trials that are over, and by nothing else.

    That of number 0 is `first`, the present values, as far as they lie within what may be tried.
    """
    drawn = int.from_bytes(blake2b(f"{seed} {number}".encode(), digest_size=4).digest(), "little")
    if number:
        study.sampler = optuna.samplers.TPESampler(seed=drawn)
        return study.ask(among)
    known = {key: _choice(first[key]) for key, each in among.items() if _within(each, first[key])}
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.sampler = optuna.samplers.PartialFixedSampler(known, optuna.samplers.RandomSampler(drawn))
    return study.ask({key: among[key] for key in known})


def best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The trial of the greatest value, of several the first; None where none was scored to the end."""
    complete = [each for each in trials if each.state is TrialState.COMPLETE]
    return max(complete, key=lambda each: each.value or 0.0, default=None)


def levelled(trial: FrozenTrial, first: FrozenTrial) -> float | None:
    """What a pruned `trial` might have scored in all folds: it differs from the `first` as it does in those it had."""
    mine, others = trial.user_attrs[SCORES], first.user_attrs[SCORES]
    return None if trial.state is not TrialState.PRUNED else fmean(others) + fmean(map(sub, mine, others))


def importances(study: optuna.Study, names: list[str]) -> dict[str, float]:
    """How much of the differences between trials each parameter explains; nothing where that cannot be told.

    Source: https://proceedings.mlr.press/v32/hutter14.html
    """
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    except Exception:  # too few trials, all alike, or a parameter that was always the same
        return {}


def table(trials: list[FrozenTrial], space: dict[str, Any], *, first: dict[str, Any], metric: str) -> pl.DataFrame:
    """A row for each trial: its state, its score and those of its folds, its parameters, its MLflow run."""
    rows = []
    for each in trials:
        noted, tried = each.user_attrs, values(space, each.params) if each.user_attrs[NUMBER] else first
        about = {"trial": noted[NUMBER], "state": each.state.name.lower(), metric: each.value}
        scores = {"folds": " ".join(f"{score:.6g}" for score in noted[SCORES])}
        rows.append(about | scores | {key: _told(value) for key, value in tried.items()} | {"run": noted[RUN]})
    return pl.DataFrame(rows, infer_schema_length=None)


def experiment(about: list[str], *, defaults: list[Any], settings: dict[str, Any]) -> str:
    """The file in conf/experiment/ that chooses `defaults` and sets the keys of `settings`, {"model.C": 3.0}."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, name = key.split(".")
        at = nested
        for part in parents:
            at = at.setdefault(part, {})
        at[name] = value
    head = "".join(f"# {line}\n" for line in about)
    parts = [{"defaults": defaults}, *([nested] if nested else [])]
    written = [yaml.safe_dump(each, sort_keys=False, allow_unicode=True, width=120) for each in parts]
    return "# @package _global_\n" + head + "\n".join(written)


def _distribution(name: str, spec: Any) -> BaseDistribution:
    """What Optuna draws one key from."""
    if isinstance(spec, list) and spec:
        return CategoricalDistribution([_choice(each) for each in spec])
    if not isinstance(spec, dict) or not {*RANGE[:2]} <= {*spec} <= {*RANGE}:
        raise ProjectError(
            f"{name}={_told(spec)}: give a range {{low: 1, high: 9}}, with log or step, or a list of values"
        )
    given: dict[str, Any] = {**dict.fromkeys(RANGE), **spec}
    low, high, log, step = (given[each] for each in RANGE)
    if not all(type(each) in (int, float) for each in (low, high)) or not low < high:
        raise ProjectError(f"{name}: low={_told(low)} and high={_told(high)} have to be numbers, low below high")
    if log not in (None, True, False) or (log and (step is not None or low <= 0)):
        raise ProjectError(f"{name}: log is true or false, and wants low above 0 and no step")
    if step is not None and (type(step) not in (int, float) or not 0 < step <= high - low):
        raise ProjectError(f"{name}: step={_told(step)} is a number between 0 and high - low")
    if all(isinstance(each, int) for each in (low, high, step or 1)):
        return IntDistribution(low, high, log=bool(log), step=step or 1)
    return FloatDistribution(low, high, log=bool(log), step=step)


def _plain(spec: dict[str, Any]) -> list[Any]:
    return [spec.get(each) for each in ("low", "high", "log", "step")]


def _within(distribution: Any, value: Any) -> bool:
    """Whether `value` is one that `distribution` may give."""
    if isinstance(distribution, CategoricalDistribution):
        return _choice(value) in distribution.choices
    if type(value) not in (int, float) or (isinstance(distribution, IntDistribution) and type(value) is float):
        return False
    steps = (value - distribution.low) / (distribution.step or 1)
    whole = distribution.step is None or abs(steps - round(steps)) < 1e-9
    return distribution.low <= value <= distribution.high and whole


def _choice(value: Any) -> Any:
    """`value` as one of Optuna's choices, which are texts, numbers, truth values and nothing."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
