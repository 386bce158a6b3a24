"""What the split keeps together stays together inside a fit: a stack's folds, a network's rows to stop by."""

from contextlib import contextmanager, nullcontext

import numpy as np
import polars as pl
import pytest
from penguin_classifier import models
from penguin_classifier.machinery.config.schema import Columns
from penguin_classifier.machinery.data import splits
from penguin_classifier.machinery.evaluation import estimators
from penguin_classifier.machinery.model import held_out
from penguin_classifier.machinery.model.networks.network import Network
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder


@contextmanager
def together(groups):
    """A block of fits whose rows belong together by `groups`."""
    token = held_out.BELONGING.set(groups)
    yield
    held_out.BELONGING.reset(token)


DRAW = np.random.default_rng(0)
TABLE = pl.DataFrame({"id": range(80), "who": np.arange(80) // 4, "n": np.arange(80) // 2 * 1.5, "y": [1.0, 1.0] * 40})


@pytest.mark.parametrize(
    "roles, count",
    [({"key": ["id"]}, 80), ({"group": ["who"], "key": ["id"]}, 20), ({"drop": ["id"]}, 40)],
)
def test_rows_belong_together_by_group_or_as_twins(roles, count):
    none = {"drop": [], "key": [], "group": [], "time": None, "sensitive": []}
    found = splits.together(TABLE, Columns(target="y", **none | roles))
    size = 80 // count
    assert (found == np.arange(80) // size * size).all()


def test_places_are_spread_evenly_in_each_class_and_one_for_what_belongs_together():
    classes = np.where(np.arange(300) % 10 == 0, "rare", "common")
    alone = held_out.places(classes, rows=300, seed=1)
    assert {name: int((alone[classes == name] < 0.2).sum()) for name in ("rare", "common")} == {"rare": 6, "common": 54}
    assert (alone == held_out.places(classes, rows=300, seed=1)).all()
    assert (alone != held_out.places(classes, rows=300, seed=2)).any()
    groups = np.arange(300) // 3 * 3
    with together(groups):
        joint = held_out.places(None, rows=300, seed=1)
        part = held_out.places(None, rows=200, seed=1)  # of a stack's member, which gets some of the rows
    assert (joint == joint[groups]).all() and len(np.unique(joint)) == 100 and (joint < 0.2).sum() == 60
    assert len(np.unique(part)) == 200
    for few in (np.zeros(300, int), np.arange(300) // 100):
        with together(few):
            assert (held_out.places(None, rows=300, seed=1) < 0.2).sum() == 60, "few groups have to be divided"
    with together(groups // 30):  # ten, each of one class
        alike = held_out.places(groups // 30, rows=300, seed=1)
        assert len(np.unique(alike)) == 10 and (alike < 0.2).sum() == 60


@pytest.mark.parametrize("transformed", [False, True])
def test_a_stack_does_not_believe_a_member_that_knows_its_rows_by_heart(transformed):
    # Targets are noise, and each row is there four times: out of other groups nobody can tell them.
    X, y = np.repeat(DRAW.normal(size=(100, 3)), 4, axis=0), np.repeat(DRAW.normal(size=100), 4)

    def weight(groups):
        forest = RandomForestRegressor(30, max_features=1.0, random_state=0)
        stack = models.stack({"forest": forest}, LinearRegression(), folds=5, seed=0)
        whole = TransformedTargetRegressor(stack, func=np.copy, inverse_func=np.copy) if transformed else stack
        estimators.fit(Pipeline([("estimator", whole)]), X, y, kind="regression", groups=groups)
        made = whole.regressor_ if transformed else stack
        assert isinstance(made.cv, KFold) and isinstance(stack.cv, KFold), "no model keeps a number for each row"
        return made.final_estimator_.coef_[0]

    assert weight(None) > 0.8 and abs(weight(np.arange(400) // 4)) < 0.3


def test_the_line_tells_a_stack_what_belongs_together(do, monkeypatch):
    seen, real = [], held_out.places
    monkeypatch.setattr(
        held_out, "places", lambda *given, **more: seen.append(held_out.BELONGING.get()) or real(*given, **more)
    )
    quick = ["model.folds=2", "model.members.forest.n_estimators=5", "model.members.boosting.max_iter=5"]
    grouped = ["split=group", "columns.group=[bill_length_mm]"]
    code, printed = do("train", "data=penguins", "model=stack", "expectations=[]", *quick, *grouped)
    assert code == 0, printed
    [groups] = seen
    assert held_out.FEW < len(np.unique(groups)) < len(groups)


class Told(Network):
    """Keeps which rows it would have been trained on, and by which it would have been stopped."""

    def __init__(self, **training):
        super().__init__(**training)

    _estimator_type = "regressor"

    def _learn_targets(self, y):
        return y

    def _reproducibly(self):
        return nullcontext()

    def _epochs(self, X, y, sides, progress, workspace):
        self.sides_ = sides
        return iter(())

    def _train(self, X, y, train, epochs):
        pass

    def _learned(self):
        pass


def test_a_network_is_stopped_by_groups_that_it_has_not_seen():
    groups = DRAW.integers(0, 100, size=1000)
    X = np.arange(1000.0)[:, None]
    with together(groups):
        sides = Told(validation_share=0.2).fit(X, X[:, 0]).sides_
    assert not {*groups[sides["train"]]} & {*groups[sides["validation"]]}
    assert 150 < len(sides["validation"]) < 250 and sorted(np.concatenate([*sides.values()])) == list(range(1000))
    few = Told(validation_share=0.01).fit(X[:5], X[:5, 0]).sides_
    assert len(few["validation"]) == 1 and len(few["train"]) == 4


def test_who_holds_rows_out_is_known_in_any_wrapping():
    stack = models.stack({"ridge": Ridge()}, Ridge(), folds=2, seed=0)
    blend = models.blend({"told": Told(), "ridge": Ridge()}, [1, 1])
    assert all(map(estimators.holds_out, (stack, blend, Told(), TransformedTargetRegressor(stack))))
    assert not estimators.holds_out(models.blend({"ridge": Ridge()}, [1]))
    prepared = Pipeline([("means", TargetEncoder(cv=KFold(5))), ("ridge", Ridge())])
    assert not estimators.holds_out(models.blend({"prepared": prepared}, [1])), "whose folds nobody changes"
