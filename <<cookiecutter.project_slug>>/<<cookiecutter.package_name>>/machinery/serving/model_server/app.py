"""MLflow's scoring server, where each answer says which version gave it: `uvicorn model_server.app:app`.

The variable `__pyfunc_model_path__`, whose name is MLflow's, holds the folder of the model, as it came from the
registry; `MODEL_SERVER` holds the settings of its cache and its log, as JSON. `/health` tells model and version.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from mlflow.pyfunc import scoring_server

from .served_model import REQUEST, layered

Next = Callable[[Request], Awaitable[Response]]


def registered_as(folder: Path) -> dict[str, str]:
    """What the model in `folder` is: its name and version in the registry, "" where it has none, and its own id."""
    described = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))
    file = folder / "registered_model_meta"  # MLflow's, of what was downloaded from a registry
    registered = yaml.safe_load(file.read_text("utf-8")) if file.exists() else {}
    name, version = registered.get("model_name", ""), str(registered.get("model_version", ""))
    return {"model": name, "version": version, "model_id": described.get("model_uuid") or ""}


FOLDER = Path(os.environ["__pyfunc_model_path__"])  # noqa: SIM112
SETTINGS = json.loads(os.environ.get("MODEL_SERVER", "{}"))  # {"log": ..., "cache": ...}
IDENTITY = registered_as(FOLDER)
HEADERS = {"X-Model-Name": quote(IDENTITY["model"]), "X-Model-Version": IDENTITY["version"]}
MODEL = layered(scoring_server.load_model_with_mlflow_config(str(FOLDER)), IDENTITY, SETTINGS)


async def identified(request: Request, call_next: Next) -> Response:
    """Gives each request an id, unless it brings one, and each answer that id and the version; answers `/health`."""
    number = request.headers.get("x-request-id", "")[:200] or uuid.uuid4().hex
    REQUEST.set((number, time.perf_counter()))
    asked = request.url.path == "/health"
    response = JSONResponse({"status": "ok"} | IDENTITY) if asked else await call_next(request)
    response.headers.update(HEADERS | {"X-Request-ID": number})
    return response


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    """What is logged becomes files before the server ends."""
    yield
    await asyncio.to_thread(MODEL.close)


def application() -> FastAPI:
    """MLflow's own, with what is ours around it."""
    server = scoring_server.init(MODEL)  # type: ignore[arg-type] # it asks for `metadata` and `predict` alone
    server.router.lifespan_context = lifespan
    server.middleware("http")(identified)
    return server


app = application()
