"""The one format that models are kept in: MLflow's, by skops and not pickle, with the code that they are served by."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from zipfile import ZIP_DEFLATED

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import Model as Description
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from ..errors import ConfigError, ProjectError, one_line
from ..model import loader
from ..model.loader import Model

PACKAGES = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # what a served model needs
# Of all other kinds: string. Any, because MLflow would make a missing truth value false, and guess whether 03.04.2021
# is in March or in April; loader.Model holds both to what they are.
TYPES: dict[str, Any] = {"number": DataType.double, "boolean": AnyType(), "date": AnyType()}
LOCK = "uv.lock"
FILES = "files"  # the tag of a logged model that holds the fingerprint of its files
ADDED = "registered_model_meta"  # by MLflow, to the files that it downloads
SIGNED = {"double": "number", "boolean": "boolean", "datetime": "date"}  # kinds by the types of a foreign signature


# A block in which skops writes what a model consists of on one line: indented, Python encodes it, 20 times as slowly.
FLAT = patch("skops.io._persist.json", SimpleNamespace(loads=json.loads, dumps=lambda state, **_: json.dumps(state)))
_trusts: Callable[[str], bool] = bool  # what `trust` was given


def trust(trusts: Callable[[str], bool]) -> None:
    """Loads from now on models of classes that `trusts` says yes to, by their names, and no others."""
    global _trusts
    _trusts = trusts


def save(model: Model, folder: Path, *, example: pd.DataFrame, package: str) -> None:
    """Writes `model` to `folder`; `example`: rows (n, d) of its raw columns. The model answers without the project.

    With it travel the files of `model/` and its own `code`, which derives its columns; where the estimator's class is
    one of `package`, all of the package; and the project's uv.lock. Numbers are doubles. No column is required by the
    signature: MLflow would refuse a request that lacks one by all its rows first, the model says which it is.
    """
    import mlflow.sklearn
    from skops.io import dumps, get_untrusted_types

    columns = [(TYPES.get(kind, DataType.string), name) for name, kind in model.inputs.items()]
    inputs = Schema([ColSpec(type_, name, required=False) for type_, name in columns])
    with warnings.catch_warnings(action="ignore"):  # an answer that is a whole number is never missing
        outputs = infer_signature(model.predict(example)).inputs
    with FLAT:
        packed = dumps(model.pipeline, compression=ZIP_DEFLATED, compresslevel=6)
    trusted = get_untrusted_types(data=packed)
    _refuse_untrusted("this model", trusted)
    root = Path(sys.modules[package].__file__ or "").parent
    own = [name for name in trusted if name.startswith(f"{package}.")]
    guess = any(not name.startswith(f"{package}.machinery.") for name in own)  # MLflow loads it to see what it imports
    classes = [getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in own]
    needed = [*trusted, *(["polars"] if model.prepares else []), *model.libraries]
    needed += [library for each in classes for library in getattr(each, "libraries", ())]
    pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in _distributions(needed, package)]
    about: dict[str, Any] = {name: getattr(model, name) for name in ("positive", "kinds", "inputs", "libraries")}
    with tempfile.TemporaryDirectory() as scratch, FLAT:
        travelling = _travelling(Path(scratch), package, model.code)
        mlflow.sklearn.save_model(
            model.pipeline,
            str(folder),
            code_paths=[str(travelling), *([str(root)] if own else [])],
            signature=ModelSignature(inputs, outputs),
            input_example=example,
            metadata=about | {"derived": [asdict(column) for column in model.columns]},
            pip_requirements=None if guess else pins,
            extra_pip_requirements=pins if guess else None,
            serialization_format="skops",
            skops_trusted_types=trusted,  # named one by one in the model's file
        )
        description = Description.load(folder)
        file = folder / description.flavors["sklearn"]["pickled_model"]
        description.model_size_bytes = (description.model_size_bytes or 0) - file.stat().st_size + len(packed)
        file.write_bytes(packed)  # MLflow's own is not compressed: a forest is ten times as large
        description.flavors["python_function"]["loader_module"] = f"{travelling.name}.loader"
        description.save(folder / "MLmodel")
        if (lock := root.parent / LOCK).is_file():
            (folder / "lock").mkdir()  # in the model's own folder MLflow would install all that it names
            shutil.copy(lock, folder / "lock")
    if model.code and not load(folder).predict(example).equals(model.predict(example)):
        raise ProjectError(
            "features.derive: away from the project, the model answers otherwise than here: the functions in "
            "features.py have to rest on their arguments and on imported modules alone"
        )


def load(address: str | Path, *, files: str = "") -> Model:
    """The model in a folder or at a `models:/` address, derived columns by the code that travelled with it.

    A foreign scikit-learn model has the columns of its signature. Raises ProjectError for what cannot be loaded, and
    for files that are not those that `files` (see `fingerprint_of_files`) was made of.
    """
    folder, description = _at(address, None, files)
    try:
        return _loaded(address, folder, description)
    except Exception as error:
        if isinstance(error, ProjectError):
            raise
        why = f", its files may be damaged: {type(error).__name__}: {one_line(error)}"
        if isinstance(error, ImportError):
            why = f" without {error.name}: `uv add {error.name}` and `make lock` install it"
        raise ProjectError(f"{address} cannot be loaded{why}") from error


def _at(address: str | Path, to: str | None, files: str) -> tuple[Path, Description]:
    """The folder of the model at `address`, downloaded `to` it where it is none, and what it is."""
    try:
        there = Path(address).is_dir()
        folder = Path(address) if there else Path(mlflow.artifacts.download_artifacts(str(address), dst_path=to))
        damaged = files and fingerprint_of_files(folder) != files
        description = Description.load(folder)
    except Exception as error:
        raise ProjectError(f"{address} cannot be loaded, its files may be gone: {one_line(error)}") from error
    if damaged:
        raise ProjectError(f"{address} cannot be loaded, its files are damaged: `-e rollback` takes a champion back")
    return folder, description


def taken(address: str) -> list[str]:
    """The columns that the model at `address` takes: of its files MLmodel alone is read. None of a foreign one."""
    try:
        return [*(mlflow.models.get_model_info(address).metadata or {}).get("inputs", {})]
    except Exception as error:
        raise ProjectError(f"{address} cannot be read: {one_line(error)}") from error


def download(address: str | Path, folder: Path, *, files: str) -> Path:
    """Where the files of the model at `address` are: downloaded to `folder`. Raises ProjectError as `load` does."""
    return _at(address, str(folder), files)[0]


def activation(folder: Path, manager: str) -> list[str]:
    """The shell's commands that enter the environment of the model in `folder`, which `manager` makes where it has to:
    uv, virtualenv or conda; none for `local`, the environment of this process."""
    if manager == "local":
        return []
    from mlflow.models.flavor_backend_registry import get_flavor_backend

    try:
        backend = get_flavor_backend(str(folder), env_manager=manager)
        return list(backend.prepare_env(str(folder), capture_output=True).get_activate_command())
    except Exception as error:
        raise ProjectError(f"its environment cannot be made by {manager}: {one_line(error)}") from error


def _loaded(address: str | Path, folder: Path, description: Description) -> Model:
    """The model in `folder`, of which its file MLmodel gives the `description`."""
    import mlflow.sklearn

    _refuse_untrusted(str(address), (description.flavors.get("sklearn") or {}).get("skops_trusted_types") or [])
    module = description.flavors.get("python_function", {}).get("loader_module", "")
    if module.endswith(".loader"):
        return _imported(module, folder / "code").load(str(folder))
    about, signature = description.metadata or {}, description.signature
    if not signature or signature.inputs.is_tensor_spec() or "sklearn" not in description.flavors:
        raise ProjectError(f"{address} was not registered by this project: which columns it takes cannot be told")
    signed = {column.name: SIGNED.get(repr(column.type), "text") for column in signature.inputs}
    kinds = about.get("kinds", signed)
    return Model(mlflow.sklearn.load_model(str(folder)), kinds, kinds, positive=about.get("positive"))


def fingerprint_of_files(folder: Path) -> str:
    """A hash of the names and bytes of a model's files, without those that MLflow adds where it downloads them."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.parent.name != "__pycache__"]
    kept = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files if file.name != ADDED}
    parts = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in kept.items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _refuse_untrusted(what: str, types: Collection[str]) -> None:
    """Raises ConfigError where a file names classes to be trusted that we do not: it may name any."""
    if more := sorted(name for name in types if not _trusts(name)):
        raise ConfigError(
            f"{what} holds objects of {', '.join(more)}, which may run code when they are loaded: if you know where it "
            f"comes from, trusted: [{more[0].partition('.')[0]}] in conf/config.yaml lets them be loaded"
        )


def logged(folder: Path, *, key: str, name: str, kind: str, params: dict[str, str]) -> str:
    """The id of the model in `folder` as MLflow has it under `key`; uploaded by the active run where it has not.

    The files go up as they are: they are not made a second time.
    """
    client, active = MlflowClient(), mlflow.active_run()
    assert active is not None
    experiment = active.info.experiment_id
    logged = client.search_logged_models([experiment], filter_string=f"tags.`stage.key` = '{key}'")
    for model in logged:
        if model.status == "READY" and client.list_logged_model_artifacts(model.model_id):  # files can be deleted
            return model.model_id
    how = {"params": params, "tags": {"stage.key": key, FILES: fingerprint_of_files(folder)}}
    made = client.create_logged_model(experiment, name, source_run_id=active.info.run_id, model_type=kind, **how)
    client.log_model_artifacts(made.model_id, str(folder))
    client.finalize_logged_model(made.model_id, "READY")
    return made.model_id


def _travelling(scratch: Path, package: str, code: dict[str, str]) -> Path:
    """A package of the code that travels, called after what is in it: two models of one process may differ in it."""
    files = {file.name: file.read_text("utf-8") for file in Path(loader.__file__).parent.glob("*.py")}
    files |= {f"project/{name}": text for name, text in code.items()}
    mark = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in files.items()).encode()).hexdigest()[:8]
    folder = scratch / f"model_{mark}"
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # what is imported by the project's name, or by that of an earlier copy, is this copy
        names = rf"(?:{package}|model_[0-9a-f]{{8}}\.project)"
        moved = re.sub(rf"(?m)^(\s*(?:from|import)\s+){names}(?=[.\s])", rf"\1{folder.name}.project", text)
        file.write_text(moved if name.startswith("project/") else text, encoding="utf-8")
    return folder


def _imported(module: str, code: Path) -> Any:
    """`module` out of the folder `code`: a copy that another model brought is as good, its name says what is in it."""
    sys.path.insert(0, str(code))
    try:
        imported = importlib.import_module(module)
    finally:
        sys.path.remove(str(code))
    package = module.partition(".")[0]
    sys.modules[package].__path__ = [str(code.resolve() / package)]  # where it was imported from may have been moved
    return imported


def _distributions(names: Collection[str], package: str) -> list[str]:
    """What a model needs that has to do with the modules `names`, by the names that it is installed by."""
    there = (*PACKAGES, "sklearn", package, "__future__", *sys.stdlib_module_names)
    others = sorted({name.partition(".")[0] for name in names} - set(there))
    installed = metadata.packages_distributions() if others else {}  # looking takes a third of a second
    return [*PACKAGES, *(installed[name][0] for name in others if name in installed)]
