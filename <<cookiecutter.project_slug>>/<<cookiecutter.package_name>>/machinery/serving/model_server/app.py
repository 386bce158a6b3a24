"""MLflow's scoring server, where each answer says which version gave it: `uvicorn model_server.app:app`.

The variable `__pyfunc_model_path__`, whose name is MLflow's, holds the folder of the model, as it came from the
registry; `MODEL_SERVER` holds the settings of the layers around it, as JSON. `/health` tells model and version.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import yaml
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from mlflow.pyfunc.scoring_server.app import app  # it loads the model

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
# What stands between a client and the model, the innermost first. Each is an `async def layer(request, call_next)` that
# gives a response; `request.state.request_id` names the request.
LAYERS: list[Callable[[Request, Next], Awaitable[Response]]] = []


async def identified(request: Request, call_next: Next) -> Response:
    """Gives each request an id, unless it brings one, and each answer that id and the version; answers `/health`."""
    number = request.state.request_id = request.headers.get("x-request-id", "")[:200] or uuid.uuid4().hex
    asked = request.url.path == "/health"
    response = JSONResponse({"status": "ok"} | IDENTITY) if asked else await call_next(request)
    response.headers.update(HEADERS | {"X-Request-ID": number})
    return response


for layer in (*LAYERS, identified):
    app.middleware("http")(layer)
