"""The members of a blend or a stack, each as a model that answers alone."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from .result import MemberScore
from .scored_model import score_model

if TYPE_CHECKING:
    from ..config.schema import Task

ENSEMBLES = (StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor)
# What a threshold and a transformed target are wrapped around.
INSIDE = {
    "FixedThresholdClassifier": "estimator_",
    "FrozenEstimator": "estimator",
    "TransformedTargetRegressor": "regressor_",
}


class Member(NamedTuple):
    model: Pipeline  # with the preparation, threshold and transformed target of the whole
    params: dict[str, str]
    weight: float | None  # of its answers in those of the whole; None: the whole has no such numbers


def members(model: Pipeline) -> dict[str, Member]:
    """The members of the fitted `model` by name; none where it is no ensemble of named ones."""
    wrappers, last = [], model[-1]
    while inside := INSIDE.get(type(last).__name__):
        wrappers.append((last, inside))
        last = getattr(last, inside)
    if not isinstance(last, ENSEMBLES) or len(last.named_estimators_) < 2:
        return {}
    weights = dict(zip(last.named_estimators, getattr(last, "weights", None) or [], strict=False))
    by_name = {}
    for name, alone in last.named_estimators_.items():
        if alone == "drop":
            continue
        params = {key: str(value) for key, value in alone[-1].get_params(deep=False).items() if value is not None}
        if is_classifier(last):  # whose members have classes by number: a vote of one has the labels
            vote = VotingClassifier([(name, FrozenEstimator(alone))], voting="soft")
            alone = vote.fit(np.zeros((len(last.classes_), 1)), last.classes_)
        for wrapper, inside in reversed(wrappers):
            around = copy(wrapper)
            setattr(around, inside, alone)
            alone = around
        by_name[name] = Member(Pipeline([*model.steps[:-1], ("estimator", alone)]), params, weights.get(name))
    return by_name


def score_members(model: Pipeline, frame: pd.DataFrame, target: np.ndarray, task: Task) -> list[MemberScore]:
    """What each member of `model` scores alone on `frame` (n, d), which is prepared once for all of them."""
    parts = members(model)
    prepared = model[:-1].transform(frame) if parts else None
    scored = []
    for name, member in parts.items():
        scores = score_model(member.model[-1], prepared, target, task).scores(task.metrics)
        scored.append(MemberScore(name, member.weight, member.params, scores))
    return scored
