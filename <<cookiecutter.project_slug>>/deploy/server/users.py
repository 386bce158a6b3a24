"""Makes MLflow's users, roles and permissions those of users.yaml, by its REST API."""

import json
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from pathlib import Path

import yaml
from cryptography import x509

FOLDER = Path("state/users")
ADMINISTRATOR = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"]


def ask(method: str, path: str, version: str = "3.0", **fields) -> dict:
    """What MLflow answers the administrator; a sentence where it refuses."""
    address = f"http://{os.environ['MLFLOW_HOST']}:{os.environ['MLFLOW_PORT']}/api/{version}/mlflow/{path}"
    body = json.dumps(fields).encode()
    if method == "GET":
        address, body = f"{address}?{urllib.parse.urlencode(fields)}", None
    who = b64encode(f"{ADMINISTRATOR}:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}".encode()).decode()
    headers = {"Authorization": f"Basic {who}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, body, headers, method=method), timeout=30
        ) as answer:
            return json.loads(answer.read() or "{}")
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        if error.code == 404 and path == "experiments/get-by-name":
            return {}
        reason = json.loads(said)["message"] if said.startswith("{") else f"{error.code} {error.reason}"
        shown = {key: value for key, value in fields.items() if key != "password"}
        raise SystemExit(f"MLflow refuses {path} with {shown}: {reason}") from None
    except OSError as error:
        raise SystemExit(f"MLflow does not answer ({error}): `server.py start` runs it") from None


def read() -> tuple[dict, dict, list]:
    """Roles, users and administrators of users.yaml, which name each other rightly."""
    asked = yaml.safe_load(Path("users.yaml").read_text()) or {}
    roles, users, admins = asked.get("roles") or {}, asked.get("users") or {}, asked.get("admins") or []
    for name, wanted in users.items():
        for role in wanted or []:
            if role not in roles:
                raise SystemExit(
                    f"users.yaml: {name} has the role {role}, which is none of {', '.join(roles) or 'its roles'}"
                )
    for name in admins:
        if name not in users:
            raise SystemExit(f"users.yaml: {name} of admins is none of its users")
    if ADMINISTRATOR in users:
        raise SystemExit(f"users.yaml: {ADMINISTRATOR} is the administrator of .env, who is there in any case")
    return roles, users, admins


def make_users(users: dict, admins: list) -> None:
    """Users as named: new ones with a password in a file of theirs, the others gone."""
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = {each["username"] for each in ask("GET", "users/list", "2.0")["users"]}
    for name in there - {*users, ADMINISTRATOR}:
        ask("DELETE", "users/delete", "2.0", username=name)
        (FOLDER / f"{name}.env").unlink(missing_ok=True)
        print(f"{name} is no user any more")
    for name in users:
        file, password = FOLDER / f"{name}.env", secrets.token_urlsafe(18)
        if name not in there:
            ask("POST", "users/create", "2.0", username=name, password=password)
        elif not file.exists():
            ask("PATCH", "users/update-password", "2.0", username=name, password=password)
        if name not in there or not file.exists():
            with open(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as opened:
                opened.write(lines(name, password))
            print(f"{name}: what stands in {file} goes into the .env of projects")
        ask("PATCH", "users/update-admin", "2.0", username=name, is_admin=name in admins)


def lines(name: str, password: str) -> str:
    """What a user's project has to know."""
    address = f"https://{os.environ['SERVER_NAME']}:{os.environ['HTTPS_PORT']}"
    text = f"MLFLOW_TRACKING_URI={address}\nMLFLOW_TRACKING_USERNAME={name}\nMLFLOW_TRACKING_PASSWORD={password}\n"
    file = Path("state/nginx/server.crt")
    certificate = x509.load_pem_x509_certificate(file.read_bytes()) if file.exists() else None
    if certificate and certificate.issuer == certificate.subject:
        here = Path(os.environ.get("HERE", os.getcwd()))  # in a container, another folder than outside of it
        text += "# The server signed its certificate itself: other machines need a copy of this file, and name that\n"
        text += f"MLFLOW_TRACKING_SERVER_CERT_PATH={here / file}\n"
    return text + "# The project's name; else `mlflow run` takes the experiment Default\n#MLFLOW_EXPERIMENT_NAME=\n"


def experiment(name: str) -> str:
    """MLflow's id of an experiment, which is made if it is not there; "*" is all of them."""
    if name == "*":
        return name
    found = ask("GET", "experiments/get-by-name", "2.0", experiment_name=name)
    return (
        found["experiment"]["experiment_id"]
        if found
        else ask("POST", "experiments/create", "2.0", name=name)["experiment_id"]
    )


def make_role(role: int, name: str, kinds: dict, users: dict) -> None:
    """A role with exactly these permissions and users."""
    wanted = {
        (kind, experiment(what) if kind == "experiment" else what): permission
        for kind, grants in kinds.items()
        for what, permission in grants.items()
    }
    for each in ask("GET", "roles/permissions/list", role_id=role)["role_permissions"]:
        key = each["resource_type"], each["resource_pattern"]
        if wanted.get(key) == each["permission"]:
            del wanted[key]
        else:
            ask("DELETE", "roles/permissions/remove", role_permission_id=each["id"])
    for (kind, what), permission in wanted.items():
        given = {"resource_type": kind, "resource_pattern": what, "permission": permission}
        ask("POST", "roles/permissions/add", role_id=role, **given)
    for user, roles in users.items():
        has = role in [each["id"] for each in ask("GET", "users/roles/list", username=user)["roles"]]
        if has and name not in (roles or []):
            ask("DELETE", "roles/unassign", username=user, role_id=role)
        if not has and name in (roles or []):
            ask("POST", "roles/assign", username=user, role_id=role)


def main() -> None:
    """First users, then roles; MLflow's own roles, of what a user made, are left alone."""
    roles, users, admins = read()
    make_users(users, admins)
    there = {
        each["name"]: each["id"] for each in ask("GET", "roles/list")["roles"] if not each["name"].startswith("__")
    }
    for name in there.keys() - roles.keys():
        ask("DELETE", "roles/delete", role_id=there[name])
    for name, kinds in roles.items():
        role = (
            there[name] if name in there else ask("POST", "roles/create", workspace="default", name=name)["role"]["id"]
        )
        make_role(role, name, kinds or {}, users)
    print(f"{len(users)} users and {len(roles)} roles are as users.yaml has them")


if __name__ == "__main__":
    main()
