"""Jobs, the commands that are no stages: a folder for each, with everything that only it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ..config.schema import Columns, Deploy, Objective
    from ..data.splits import Sides
    from ..model.loader import Model
    from ..pipeline.store import Store

    Deploying = tuple[Deploy | None, Store, dict[str, str], str, list[str]]  # choices, who decides, words typed

T = TypeVar("T")


def save_model(
    model: Model, store: Store, sides: Sides, *, stage: str, table: str, columns: Columns, task: Objective, package: str
) -> str:
    """The digest of `model`, once it lies in the folder `model` of `stage`, with the files that jobs store with it.

    `sides`: of the split. `table`: the stage whose table they are of, of which the first 10,000 rows are answered for
    the digest. `package`: the project's, for classes and functions of it.
    """
    from ..data import frames
    from ..evaluation import estimators
    from ..mlflow import model_format
    from ..model.derived import typed

    folder = store.path(stage) / "model"
    example = frames.masked(typed(sides.lazy("train").head(3).collect(), model.inputs).to_pandas(), columns.sensitive)
    model_format.save(model, folder, example=example, package=package)
    for name, text in _files(model, sides, columns=columns, task=task, example=example).items():
        store.replace(folder / name, text)
    first = model.frame(store.table(table).head(10_000).collect())
    return estimators.digest(model.pipeline, first, data=store.outcome(table).facts["digest"])


def _files(model: Model, sides: Sides, **about: Any) -> dict[str, str]:
    """The files that jobs store with a model, by name, {"reference.json": "{...}"}; none of a job that was removed."""
    try:
        from .monitor import reference
    except ImportError as error:
        if error.name != f"{__package__}.monitor":  # something that it needs
            raise
        return {}
    return {reference.EXAMPLES: reference.statistics(model, sides, **about)}


@contextmanager
def decided_at(deploy: Deploy | None, registered_model: str) -> Iterator[str]:
    """The name of the model that is decided on, in whose registry the block runs: that of the deployment, if any."""
    from ..mlflow import stores

    with stores.using(deploy.registry if deploy else None):
        yield deploy.model if deploy else registered_model


def decided_and_deployed(decide: Callable[[], T], name: str, number: str | None, at: Deploying) -> tuple[T, str]:
    """What `decide` gives, by which version `number` of `name` (None: it has decided already) is champion; and lines on
    what was deployed, or "".

    Where deploy.on_promote says so of that model, its champion answers requests afterwards: it is decided once a server
    is ready, so that nothing changes where there is none; by the settings that it was started with.
    """
    deploy, store, choices, who, overrides = at
    if deploy is None or not deploy.on_promote:
        return decide(), ""
    if deploy.model != name:
        return decide(), f"\n{choices['deploy']} stays as it is: it answers by {deploy.model}"
    from .deploy.rollout import Deployment, as_started

    decisions: list[T] = []
    deployment = Deployment(as_started(deploy, overrides), store, choices, who)
    result = deployment.roll_out(number, lambda: decisions.append(decide()))
    return decisions[0], "\n".join(["", result.summary, *result.notes])
