"""A workspace of Databricks: a real `mlflow server`, and before it what Unity Catalog takes, under its own paths.

MLflow's client for `databricks` and `databricks-uc` talks to it. What it refuses is what Databricks documents; the
files of versions go up and down by addresses that it signs, as a workspace with default storage has them.
"""

import json
import re
import secrets
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

UNITY = "/api/2.0/mlflow/unity-catalog/"
SEARCH = r"(name|run_id)\s*=\s*'[^']+'"


class Refused(Exception):
    """What the workspace answers with a code other than 200."""

    def __init__(self, message: str, code: int = 400, name: str = "INVALID_PARAMETER_VALUE") -> None:
        super().__init__(message)
        self.code, self.name = code, name


def refuse(wrong: bool, what: object) -> None:
    if wrong:
        raise Refused(f"Unity Catalog does not take {what!r}")


def check_tags(tags: list[dict], there: list[dict] = ()) -> None:
    """Keys, values and number of tags: https://docs.databricks.com/aws/en/database-objects/tags."""
    for tag in tags:
        key, value = tag["key"], tag.get("value", "")
        refuse(bool(re.search(r"[.,\-=/:]", key)) or len(key) > 255 or key != key.strip(), key)
        refuse(len(value) > 1000 or value != value.strip(), f"{key}={value}")
    refuse(len({tag["key"] for tag in (*tags, *there)}) > 50, "more than 50 tags")


class Workspace(ThreadingHTTPServer):
    """Unity Catalog before the MLflow server at `address`; `folder` holds the files of versions."""

    daemon_threads = True

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind, self.folder, self.token = address, folder, secrets.token_hex(8)
        self.signed: set[str] = set()
        self.pending: set[tuple[str, str]] = set()  # versions whose files are being sent
        self.host = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []

    def __enter__(self) -> "Workspace":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()

    def environment(self) -> dict[str, str]:
        """What a person sets who works with this workspace."""
        return {"MLFLOW_TRACKING_URI": "databricks", "DATABRICKS_HOST": self.host, "DATABRICKS_TOKEN": self.token}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Workspace

    def log_message(self, *_) -> None:
        pass

    def answer(self, content: bytes | dict, code: int = 200) -> None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def behind(self, path: str, values: dict | None = None, *, method: str = "") -> dict:
        """What the server behind answers, or HTTPError: `values` are a query's, or a body's."""
        method = method or self.command
        body = None if method == "GET" else json.dumps(values or {}).encode()
        if method == "GET" and values:
            path += "?" + urlencode(values, doseq=True)
        request = urllib.request.Request(self.server.behind + path, body, {"Content-Type": "application/json"})
        request.method = method
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read() or b"{}")

    def do(self) -> None:
        """Answers a request of any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        try:
            if path.startswith("/signed/"):
                return self.file(path, body)
            if path == "/.well-known/databricks-config":
                return self.answer({"oidc_endpoint": f"{self.server.host}/oidc", "workspace_id": "7"})
            refuse(self.headers.get("Authorization") != f"Bearer {self.server.token}", "this token")
            self.server.asked.append(f"{self.command} {path}")
            values = json.loads(body or b"{}") or {key: each if each[1:] else each[0] for key, each in query.items()}
            if path.startswith("/api/2.0/fs/"):
                return self.answer(self.filesystem(path, values))
            if path.startswith(UNITY):
                return self.answer(self.unity(path.removeprefix(UNITY), values))
            refuse("/registered-models" in path or "/model-versions" in path, path)  # the registry before Unity Catalog
            if path.endswith("/experiments/create"):
                refuse(not values["name"].startswith("/"), values["name"])
            request = urllib.request.Request(self.server.behind + self.path, body or None, method=self.command)
            request.add_header("Content-Type", self.headers.get("Content-Type", "application/json"))
            with urllib.request.urlopen(request, timeout=60) as response:
                self.answer(response.read())
        except Refused as error:
            self.answer({"error_code": error.name, "message": str(error)}, error.code)
        except urllib.error.HTTPError as error:
            self.answer(error.read(), error.code)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do

    def file(self, path: str, body: bytes) -> None:
        """A file that is sent or fetched by an address that was signed for it."""
        if self.path not in self.server.signed:
            return self.answer(b"", 403)
        place = self.server.folder / unquote(path.removeprefix("/signed/")).lstrip("/")
        if self.command == "PUT":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            return self.answer(b"")
        return self.answer(place.read_bytes()) if place.is_file() else self.answer(b"", 404)

    def filesystem(self, path: str, values: dict) -> dict:
        """Addresses of files, and what is in a folder."""
        if path.endswith(("/create-upload-url", "/create-download-url")):
            signed = f"/signed{values['path']}?signature={secrets.token_hex(8)}"
            self.server.signed.add(signed)
            return {"url": self.server.host + signed, "headers": []}
        folder = self.server.folder / unquote(path.removeprefix("/api/2.0/fs/directories/"))
        if not folder.is_dir():
            raise Refused(f"{folder} is no folder", 404, "NOT_FOUND")
        about = [
            {
                "path": f"/{each.relative_to(self.server.folder)}",
                "is_directory": each.is_dir(),
                "file_size": each.stat().st_size,
            }
            for each in sorted(folder.iterdir())
        ]
        return {"contents": about}

    def unity(self, path: str, values: dict) -> dict:
        """A request to Unity Catalog's registry, by its rules; what it stores is the registry of the server behind."""
        name, tags, real = values.get("name"), values.get("tags", []), f"/api/2.0/mlflow/{path}"
        if name:
            refuse(not re.fullmatch(r"[^./ ]+\.[^./ ]+\.[^./ ]+", name), name)
        if path.endswith("artifact-repository-enabled"):
            return {}
        if path == "model-versions/generate-temporary-credentials":
            return {"credentials": {"storage_mode": "DEFAULT_STORAGE"}}
        if path == "model-versions/finalize":
            self.server.pending.discard((name, values["version"]))
            refuse(
                not (self.server.folder / f"Models/{name.replace('.', '/')}/{values['version']}/MLmodel").is_file(),
                path,
            )
            return self.behind(
                real.replace("finalize", "get"), {"name": name, "version": values["version"]}, method="GET"
            )
        if path.endswith("set-tag"):
            key = {each: values[each] for each in ("name", "version") if each in values}
            [there] = self.behind(real.replace("set-tag", "get"), key, method="GET").values()
            check_tags([values], there.get("tags", []))
        check_tags(tags)
        if path == "registered-models/alias" and self.command == "POST":
            refuse(values["alias"] == "latest", values["alias"])
        searched = path.endswith("/search")
        if searched:
            asked = values.get("filter", "")
            refuse(not re.fullmatch(SEARCH, asked) if "version" in path else bool(asked), asked)
        answer = self.behind(real, values)
        if path == "model-versions/create":
            self.server.pending.add((name, answer["model_version"]["version"]))
            answer["model_version"]["status"] = "PENDING_REGISTRATION"
        if searched:
            for each in answer.get("model_versions", answer.get("registered_models", [])):
                each.pop("tags", None), each.pop("aliases", None)
        return answer
