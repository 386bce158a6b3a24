"""Optuna's part of a search: what may be tried, which values a trial gets, which trials are finished, the best one."""

from __future__ import annotations

import json
import os
import warnings
from hashlib import blake2b
from itertools import zip_longest
from math import gcd, prod
from operator import sub
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import polars as pl
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from ...errors import ConfigError

TUNABLE = ("model.", "features.", "task.linear.", "task.transform")  # starts of the keys that may be tried
NUMBER, RUN, SCORES, CAUSE, EPOCHS = "number", "run", "scores", "cause", "epochs"  # a trial's attributes in the study
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
STATES["interrupted"] = TrialState.FAIL
RANGE: Any = ("low", "high", "log", "step")
KEPT = 75.0  # percent of trials that are not pruned: on few folds a good trial is easily among the worse half
POINTS = 5  # that a grid takes of a range without steps
SAMPLERS: dict[str, Any] = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
STARTUP, WARMUP = 5, 2  # no trial is pruned before so many trials and so many of its folds: too little is known


def flatten(space: dict[str, Any], at: str = "") -> dict[str, Any]:
    """The ranges and lists of a nested `space` by the full names of their keys: {"model.C": {"low": 1, "high": 9}}."""
    leaves: dict[str, Any] = {}
    for name, value in space.items():
        inner = isinstance(value, dict) and value and not {*RANGE[:2]} & {*value}
        leaves |= flatten(value, f"{at}{name}.") if inner else {f"{at}{name}": value}
    return leaves


def distributions(space: dict[str, Any]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each key of a flat `space`.

    Raises ConfigError for an empty space, a key that cannot be tuned, and what is neither a range nor a list.
    """
    if not space:
        raise ConfigError(
            "tune.space is empty: conf/tune/ has examples, such as {model: {max_depth: {low: 2, high: 12}}}"
        )
    for key in space:
        if not key.startswith(TUNABLE):
            raise ConfigError(f"tune.space.{key}: model, features, task.linear and task.transform can be tuned")
    return {key: _distribution(f"tune.space.{key}", spec) for key, spec in space.items()}


def from_params(space: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The config's values, {"model.steps": [1, 2]}, from Optuna's `params`, in which lists and mappings are JSON."""
    lists = {key: {_choice(each): each for each in spec} for key, spec in space.items() if isinstance(spec, list)}
    return {key: lists[key][value] if key in lists else value for key, value in params.items()}


def values_to_check(space: dict[str, Any]) -> list[tuple[str, Any]]:
    """Each key of a flat `space` with each value that it has to accept: all of a list, both ends of a range."""
    sides = {key: spec if isinstance(spec, list) else [spec["low"], spec["high"]] for key, spec in space.items()}
    return [(key, value) for key, each in sides.items() for value in each]


def open_study(file: Path, *, pruning: bool) -> optuna.Study:
    """The study in the journal `file`, a new one without the file; trials that were cut short are ended as failed.

    No other process may have the file open. Scores are maximized.
    """
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
    """Removes what a kill leaves in Optuna's journal: the lock, and a last line that was written in part."""
    file.with_name(f"{file.name}.lock").unlink(missing_ok=True)
    if file.exists():
        lines, newline, _ = file.read_bytes().rpartition(b"\n")
        os.truncate(file, len(lines) + len(newline))


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were scored, pruned or failed, by their numbers; interrupted ones are left out and repeated."""
    trials = [each for each in study.get_trials(deepcopy=False) if each.state.is_finished()]
    trials = [each for each in trials if each.state is not TrialState.FAIL or CAUSE in each.user_attrs]
    return sorted(trials, key=lambda each: each.user_attrs[NUMBER])


def least(study: optuna.Study, fold: int) -> list[float]:
    """What a fit to `fold` has to have reached after each epoch: the rule of the pruner, within the fit."""
    trials = [each.user_attrs.get(EPOCHS, []) for each in finished(study)]
    epochs = zip_longest(*(each[fold] for each in trials if len(each) > fold))
    there = [[score for score in each if score is not None] for each in epochs]
    enough = [number >= WARMUP and len(each) >= STARTUP for number, each in enumerate(there)]
    return [float(np.percentile(each, 100 - KEPT)) if yes else -np.inf for each, yes in zip(there, enough, strict=True)]


def new_trial(
    study: optuna.Study,
    candidates: dict[str, BaseDistribution],
    *,
    current: dict[str, Any],
    number: int,
    seed: int,
    sampler: str = "tpe",
) -> optuna.Trial:
    """Trial `number` of the study, with parameters for the keys of `candidates`.

    They depend only on the seed, the number and, by tpe, the finished trials. Trial 0 has the `current` values, as far
    as their distributions have them.
    """
    drawn = int.from_bytes(blake2b(f"{seed} {number}".encode(), digest_size=4).digest(), "little")
    if number and sampler in SAMPLERS:
        study.sampler = SAMPLERS[sampler](seed=drawn)
        return study.ask(candidates)
    fixed = {key: _choice(current[key]) for key, each in candidates.items() if _within(each, current[key])}
    fixed = combination(candidates, number - 1, seed=seed) if number else fixed
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        study.sampler = optuna.samplers.PartialFixedSampler(fixed, optuna.samplers.RandomSampler(drawn))
    return study.ask({key: candidates[key] for key in fixed})


def combinations(candidates: dict[str, BaseDistribution]) -> int:
    """How many settings a grid over `candidates` has."""
    return prod(len(_points(each)) for each in candidates.values())


def combination(candidates: dict[str, BaseDistribution], number: int, *, seed: int) -> dict[str, Any]:
    """The settings at place `number` of a grid over `candidates`, in an order by the `seed` that leaves out none.

    Neighbours in it are far apart, so that those that come first are from everywhere.
    """
    count = combinations(candidates)
    stride = next(each for each in range(int(0.618 * count) or 1, 2 * count + 1) if gcd(each, count) == 1)
    at, settings = (seed + stride * number) % count, {}
    for key, each in candidates.items():
        points = _points(each)
        at, digit = divmod(at, len(points))
        settings[key] = points[digit]
    return settings


def _points(distribution: Any) -> list[Any]:
    """The values that a grid takes of `distribution`: all that are listed or steps apart, else POINTS of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    low, high, whole = distribution.low, distribution.high, isinstance(distribution, IntDistribution)
    step = distribution.step if not distribution.log else None
    if step and (step != 1 or not whole or high - low < 2 * POINTS):
        return [min(high, low + step * number) for number in range(int((high - low) / step + 1e-9) + 1)]
    spaced = (np.geomspace if distribution.log else np.linspace)(low, high, POINTS).tolist()
    return sorted({round(each) for each in spaced}) if whole else [low, *spaced[1:-1], high]


def best(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The trial with the greatest score on all folds, of several the first; None where no trial has one."""
    complete = [each for each in trials if each.state is TrialState.COMPLETE]
    return max(complete, key=lambda each: each.value or 0.0, default=None)


def pruned_estimate(trial: FrozenTrial, first: FrozenTrial) -> float | None:
    """An estimate of what a pruned `trial` would have scored on all folds; None of a trial that was not pruned.

    It is the mean of the `first` trial and the mean difference from it on the folds that both have.
    """
    mine, others = trial.user_attrs[SCORES], first.user_attrs[SCORES]
    return None if trial.state is not TrialState.PRUNED or not mine else fmean(others) + fmean(map(sub, mine, others))


def importances(study: optuna.Study, names: list[str]) -> dict[str, float]:
    """The share of the variance between trials that each parameter explains: {"model.C": 0.8, "model.l1_ratio": 0.2}.

    Empty where too few trials differ.

    Source: https://proceedings.mlr.press/v32/hutter14.html
    """
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    except Exception:  # too few trials, all alike, or a parameter that was always the same
        return {}


def trials_table(
    trials: list[FrozenTrial], space: dict[str, Any], *, current: dict[str, Any], metric: str
) -> pl.DataFrame:
    """A row for each trial: number, state, score, scores of folds, values, MLflow run; trial 0 has the `current`."""
    rows = []
    for each in trials:
        attributes, tried = each.user_attrs, from_params(space, each.params) if each.user_attrs[NUMBER] else current
        about = {"trial": attributes[NUMBER], "state": each.state.name.lower(), metric: each.value}
        scores = {"folds": " ".join(f"{score:.6g}" for score in attributes[SCORES])}
        rows.append(about | scores | {key: _text(value) for key, value in tried.items()} | {"run": attributes[RUN]})
    return pl.DataFrame(rows, infer_schema_length=None)


def experiment_file(comments: list[str], *, defaults: list[Any], settings: dict[str, Any]) -> str:
    """The text of a file in conf/experiment/: `comments`, a list of `defaults`, and `settings`, {"model.C": 3.0}."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, name = key.split(".")
        at = nested
        for part in parents:
            at = at.setdefault(part, {})
        at[name] = value
    head = "".join(f"# {line}\n" for line in comments)
    parts = [{"defaults": defaults}, *([nested] if nested else [])]
    written = [yaml.safe_dump(each, sort_keys=False, allow_unicode=True, width=120) for each in parts]
    return "# @package _global_\n" + head + "\n".join(written)


def _distribution(name: str, spec: Any) -> BaseDistribution:
    """Optuna's distribution of one key; `name` is for the sentence of an error."""
    if isinstance(spec, list) and spec:
        return CategoricalDistribution([_choice(each) for each in spec])
    if not isinstance(spec, dict) or not {*RANGE[:2]} <= {*spec} <= {*RANGE}:
        raise ConfigError(
            f"{name}={_text(spec)}: give a range {{low: 1, high: 9}}, with log or step, or a list of values"
        )
    given: dict[str, Any] = {**dict.fromkeys(RANGE), **spec}
    low, high, log, step = (given[each] for each in RANGE)
    if not all(type(each) in (int, float) for each in (low, high)) or not low < high:
        raise ConfigError(f"{name}: low={_text(low)} and high={_text(high)} have to be numbers, low below high")
    if log not in (None, True, False) or (log and (step is not None or low <= 0)):
        raise ConfigError(f"{name}: log is true or false, and wants low above 0 and no step")
    if step is not None and (type(step) not in (int, float) or not 0 < step <= high - low):
        raise ConfigError(f"{name}: step={_text(step)} is a number between 0 and high - low")
    if all(isinstance(each, int) for each in (low, high, step or 1)):
        return IntDistribution(low, high, log=bool(log), step=step or 1)
    return FloatDistribution(low, high, log=bool(log), step=step)


def _within(distribution: Any, value: Any) -> bool:
    """Whether `distribution` can give `value`."""
    if isinstance(distribution, CategoricalDistribution):
        return _choice(value) in distribution.choices
    if type(value) not in (int, float) or (isinstance(distribution, IntDistribution) and type(value) is float):
        return False
    steps = (value - distribution.low) / (distribution.step or 1)
    whole = distribution.step is None or abs(steps - round(steps)) < 1e-9
    return distribution.low <= value <= distribution.high and whole


def _choice(value: Any) -> Any:
    """`value` as one of Optuna's choices, which are texts, numbers, truth values and None; others as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
