"""Your models. conf/model/ names a callable as `_target_`: a class of any library, or one of these."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.model_selection import KFold, StratifiedKFold

from .machinery.errors import ProjectError


def blend(members: dict[str, Any], weights: list[float]) -> VotingClassifier | VotingRegressor:
    """An unfitted model that answers the weighted mean of what its `members` do."""
    if all(is_classifier(member) for member in members.values()):
        return VotingClassifier(list(members.items()), voting="soft", weights=weights)
    return VotingRegressor(list(members.items()), weights=weights)


def stack(members: dict[str, Any], final: Any, folds: int, seed: int) -> StackingClassifier | StackingRegressor:
    """An unfitted model whose `final` learns from what its `members` answer to rows that they were not fitted to."""
    if folds < 2:
        raise ProjectError(f"model.folds={folds}: it takes 2 at least, so that some rows are left to learn from")
    how: dict[str, Any] = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if all(is_classifier(member) for member in members.values()):
        cv = StratifiedKFold(**how)
        return StackingClassifier(list(members.items()), final, cv=cv, stack_method="predict_proba")
    return StackingRegressor(list(members.items()), final, cv=KFold(**how))
