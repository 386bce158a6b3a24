"""MLflow models: saved, loaded, logged, registered, and which of them is champion."""

from __future__ import annotations

import hashlib
import io
import sys
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from ..errors import ProjectError
from . import version_tags
from .version_tags import VersionTags

REFERENCE = "reference.json"  # of a model's files: what the rows were like that it was trained on
PACKAGES = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # what a served model needs
# Of all other kinds: string. Any, because MLflow would make a missing truth value false, and guess whether 03.04.2021
# is in March or in April; predictions.Served holds both to what they are.
TYPES: dict[str, Any] = {"number": DataType.double, "boolean": AnyType(), "date": AnyType()}


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry, and what this package wrote down about it."""

    name: str
    version: str
    digest: str  # of what the model answers; see models.digest
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    @property
    def title(self) -> str:
        return f"{self.name} version {self.version}"

    @property
    def noted(self) -> VersionTags:
        """What this project has written on it."""
        return version_tags.read(self.tags)


def save(model: Any, folder: Path, *, kinds: dict[str, str], example: Any, positive: str | None) -> None:
    """Writes `model` as an MLflow model: skops instead of pickle, an explicit signature, the pins that it needs, and
    predictions.py, by which it is served; where it has parts that this package defines, all of the package.

    Every column is required, and numbers are doubles: an inferred signature would make columns with missing values
    optional, and a served model would then not say which column a request lacks.
    """
    import mlflow.sklearn
    from skops.io import dumps, get_untrusted_types

    from . import loader

    inputs = Schema([ColSpec(TYPES.get(kind, DataType.string), name) for name, kind in kinds.items()])
    outputs = infer_signature(loader.answers(model, example, positive=positive)).inputs
    trusted = get_untrusted_types(data=dumps(model))
    code, pins = Path(loader.__file__), [f"{name}=={metadata.version(name)}" for name in _packages(trusted)]
    own = any(name.startswith(f"{__package__}.") for name in trusted)
    mlflow.sklearn.save_model(
        model,
        str(folder),
        code_paths=[str(code), *([str(code.parent)] if own else [])],
        signature=ModelSignature(inputs, outputs),
        input_example=example,
        metadata={"positive": positive, "kinds": kinds},
        pip_requirements=None if own else pins,  # None: MLflow loads it in another process to see what its code imports
        extra_pip_requirements=pins if own else None,
        serialization_format="skops",
        skops_trusted_types=trusted,  # named one by one in the model's file
    )
    module = f"predictions_{hashlib.sha256(code.read_bytes()).hexdigest()[:8]}"  # two of them may meet in one process
    (folder / "code" / code.name).rename(folder / "code" / f"{module}.py")
    made = Model.load(folder)
    made.flavors["python_function"]["loader_module"] = module
    made.save(folder / "MLmodel")


def load(address: str | Path) -> tuple[Any, dict[str, str]]:
    """The scikit-learn model in a folder or at a `models:/` address, and the kinds of the columns that it takes."""
    import mlflow.sklearn

    try:
        about = mlflow.models.get_model_info(str(address))
    except (MlflowException, OSError) as error:
        raise ProjectError(
            f"{address} cannot be loaded, its files may be gone: {' '.join(str(error).split())}"
        ) from error
    types = {"double": "number", "boolean": "boolean", "datetime": "date"}
    signed = {column.name: types.get(repr(column.type), "text") for column in about.signature.inputs}
    kinds = (about.metadata or {}).get("kinds", signed)
    plain = {name: kind if kind in TYPES else "text" for name, kind in kinds.items()}
    try:
        return mlflow.sklearn.load_model(str(address)), plain
    except ImportError as error:
        way_out = f"`uv add {error.name}` and `make lock` install it"
        raise ProjectError(f"{address} cannot be loaded without {error.name}: {way_out}") from error


def _packages(types: list[str]) -> list[str]:
    """What a model with parts of these `types` needs, by the names that it is installed by."""
    known = (*PACKAGES, "sklearn", str(__package__), *sys.stdlib_module_names)
    others = sorted({name.partition(".")[0] for name in types} - set(known))
    found = metadata.packages_distributions() if others else {}  # looking takes a third of a second
    return [*PACKAGES, *(found[name][0] for name in others if name in found)]


def reference(found: ModelVersion) -> dict[str, Any]:
    """What the rows were like that a version was trained on, see jobs/monitor. Raises ProjectError where nothing
    tells."""
    try:
        return mlflow.artifacts.load_dict(f"{found.uri}/{REFERENCE}")
    except (MlflowException, OSError) as error:
        raise ProjectError(
            f"{found.name} version {found.version} does not tell what its training rows were like: train it again"
        ) from error


def logged(folder: Path, *, key: str, name: str, kind: str, params: dict[str, str]) -> str:
    """The id of the model in `folder` as MLflow has it under `key`; uploaded by the active run where it has not.

    The files go up as they are: they are not made a second time.
    """
    client, active = MlflowClient(), mlflow.active_run()
    assert active is not None
    experiment = active.info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"tags.`stage.key` = '{key}'")
    for model in found:
        if model.status == "READY" and client.list_logged_model_artifacts(model.model_id):  # files can be deleted
            return model.model_id
    made = client.create_logged_model(
        experiment, name, source_run_id=active.info.run_id, tags={"stage.key": key}, params=params, model_type=kind
    )
    client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, "READY")
    return made.model_id


def aliases(name: str) -> dict[str, dict[str, Any]]:
    """What holds each alias of `name`: its version, what it answers (a digest), and what it was compared `against`."""
    client = MlflowClient()
    try:
        held = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    found = {alias: version(name, number) for alias, number in sorted(held.items())}
    return {
        alias: {"version": each.version, "digest": each.digest, "against": each.noted.against}
        for alias, each in found.items()
        if each
    }


def version(name: str, number: str) -> ModelVersion | None:
    """The version `number` of `name`, if there is one."""
    try:
        return registered(MlflowClient().get_model_version(name, number))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def versions(name: str) -> list[str]:
    """The numbers of all versions of `name`, the oldest first."""
    return sorted((str(each.version) for each in MlflowClient().search_model_versions(f"name = '{name}'")), key=int)


def twin(name: str, digest: str) -> ModelVersion | None:
    """The newest version of `name` that is the same model."""
    found = MlflowClient().search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
    return registered(max(found, key=lambda each: int(each.version))) if found else None


def register(name: str, model_id: str, *, description: str, tags: dict[str, str]) -> ModelVersion:
    """A new version of `name` out of a logged model."""
    with redirect_stderr(io.StringIO()):  # MLflow says there that it did what it did
        made = mlflow.register_model(f"models:/{model_id}", name, tags=tags)
    MlflowClient().update_model_version(name, made.version, description=description)
    return registered(made)


def note(found: ModelVersion, tags: dict[str, str]) -> ModelVersion:
    """`found` with `tags` on it."""
    for name, value in tags.items():
        MlflowClient().set_model_version_tag(found.name, found.version, name, value)
    return replace(found, tags={**found.tags, **tags})


def approve(found: ModelVersion, *, who: str, why: str) -> None:
    """Writes on `found` who made it champion, when and why; that it was once taken back counts no more."""
    again = {"rolled_back": ""} if "rolled_back" in found.tags else {}  # to delete it takes a permission more
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    note(found, version_tags.written(approver=who, approved=now, reason=why, **again))


def registered(found: Any) -> ModelVersion:
    """What MLflow says of a version, as this package has it."""
    return ModelVersion(found.name, str(found.version), found.tags.get("digest", ""), dict(found.tags))
