"""The three images built and run by an engine of this test's own, where one can be started: root, `dockerd`, and the
base image, which is pulled or, where no registry is reached, made by `debootstrap` and kept in .cache."""

import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from conftest import SECRET, Project, bake, locked

pytestmark = pytest.mark.slow

BASE = "python:3.11-slim"
NAME, TRAINING, SERVER = "penguin-classifier-penguins", "registry.example.org/penguin-classifier", "mlflow-server"
PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates,git,libgomp1"
SMALL = ["model=logistic", "evaluation.resamples=20", "evaluation.importance_repeats=0"]
# What says where packages come from and through what, of the machine that builds.
PASSED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX", "HTTPS_PROXY", "HTTP_PROXY")
# The engine has no bridge: what it builds has this machine's network.
DOCKER = """#!/bin/sh
command=$1
shift
case $command in build) set -- --network host $BUILD "$@" ;; esac
exec {} $command "$@"
"""
# What a served model answers to a request on standard input, asked in its container, that no network reaches.
ASK = """
import sys, urllib.request
address, body = "http://127.0.0.1:8080/invocations", sys.stdin.buffer.read()
wanted = urllib.request.Request(address, body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(wanted).read().decode())
"""


def docker(*words: str | Path, **how) -> str:
    """What a command of docker's prints."""
    how = {"text": True, "capture_output": True} | how
    done = subprocess.run(["docker", *words], **how)
    assert done.returncode == 0, f"docker {words}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def engine(folder: Path) -> Iterator[str]:
    """The address of a dockerd that keeps all that it has in `folder`."""
    words = ["dockerd", "--host", f"unix://{folder}/socket", "--data-root", folder / "data", "--exec-root"]
    words += [folder / "exec", "--pidfile", folder / "pid", "--bridge", "none", "--iptables=false"]
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "PATH": path})
    try:
        for _ in range(120):
            if process.poll() is not None:
                pytest.skip(f"dockerd does not run here: {(folder / 'log').read_text()[-300:]}")
            answer = subprocess.run(["docker", "--host", f"unix://{folder}/socket", "info"], capture_output=True)
            if answer.returncode == 0:
                break
            time.sleep(0.5)
        yield f"unix://{folder}/socket"
    finally:
        process.terminate()  # which ends its containerd and all containers
        process.wait()
        subprocess.run(["umount", *folder.glob("exec/netns/*")], capture_output=True)  # which it leaves mounted


def make_base(context: Path) -> None:
    """The image that all three begin with: Python on Debian, and this machine's certificates."""
    if subprocess.run(["docker", "pull", "--quiet", BASE], capture_output=True).returncode:
        if not shutil.which("debootstrap"):
            pytest.skip(f"{BASE} cannot be pulled here, and no debootstrap is installed to make it")
        with locked("base-image.tar") as made:
            if not made.exists():
                root = context / "root"
                words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root]
                subprocess.run(words, check=True, capture_output=True)
                for path in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                    path.unlink()
                with tarfile.open(context / "tar", "w") as tar:
                    tar.add(root, arcname=".")
                shutil.move(context / "tar", made)
                shutil.rmtree(root)
            docker("import", made, BASE)
    shutil.copy(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile, context / "certificates")
    known = {name: os.environ[name] for name in PASSED if name in os.environ}
    known |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/etc/ssl/certs/ca-certificates.crt")
    lines = [f"FROM {BASE}", "COPY certificates /etc/ssl/certs/ca-certificates.crt"]
    lines += [f'ENV {name}="{value}"' for name, value in known.items()]
    (context / "Dockerfile").write_text("\n".join(lines))
    docker("build", "--tag", BASE, context)


@pytest.fixture(scope="module")
def project(wider: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with everything, its lock committed, and its champion in its own store."""
    project = Project(bake(tmp_path_factory.mktemp("generated"), deploy="all"), wider)
    [lock] = environment.parent.glob("*/uv.lock")
    shutil.copy(lock, project.path)
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "A lock"]):
        done = project.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words)
        assert done.code == 0, done.printed
    done = project.python(*SMALL)
    assert done.code == 0, done.printed
    return project


@pytest.fixture(scope="module")
def images(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project, its three images built as its user builds them, and an engine that runs them."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    if missing := [name for name in ("docker", "dockerd") if not shutil.which(name, path=path)]:
        pytest.skip(f"no {' and no '.join(missing)} is installed (apt install docker.io)")
    if os.geteuid():
        pytest.skip("dockerd has to be started by root")
    base = tmp_path_factory.mktemp("engine")
    (base / "tools").mkdir()
    (base / "tools/docker").write_text(DOCKER.format(shutil.which("docker")))
    (base / "tools/docker").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, engine(base) as address:
        for name, value in {"DOCKER_HOST": address, "DOCKER_BUILDKIT": "0", "DOCKER_CLI_HINTS": "false"}.items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{base}/tools{os.pathsep}{os.environ['PATH']}")
        (base / "context").mkdir()
        make_base(base / "context")
        build(project)
        yield project
    shutil.rmtree(base, ignore_errors=True)


def build(project: Project, **known: str) -> None:
    """Makes the three images by the commands that a user types."""
    known |= {"UV_PROJECT_ENVIRONMENT": str(project.environment), "UV_NO_SYNC": "1"}  # make's `uv run`, without an hour
    for words in (["make", "image"], ["make", "training"], ["docker", "build", "--tag", SERVER, "deploy/server"]):
        done = project.run(*words, **known)
        assert done.code == 0, done.printed[-3000:]


def contents(image: str) -> dict[str, tuple]:
    """What is at each path of an image: its kind, who may do what with it, what it holds. Not its time."""
    name = docker("create", image, "true").strip()  # which is not run
    with (
        subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        files = ((each, tar.extractfile(each) if each.isfile() else None) for each in tar)
        digests = ((each, hashlib.file_digest(file, "sha256").hexdigest() if file else "") for each, file in files)
        found = {each.name: (each.type, each.mode, each.uid, each.linkname, digest) for each, digest in digests}
    docker("rm", name)
    return found


def components(file: Path) -> set[str]:
    """The packages that a list of CycloneDX's form names, as pins."""
    listed = json.loads(file.read_text())
    assert listed["bomFormat"] == "CycloneDX"
    return {f"{each['name']}=={each['version']}" for each in listed["components"]}


def installed(image: str) -> set[str]:
    """The packages that are in an image, as pins."""
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    text = docker("run", "--rm", "--network", "none", image, "python", "-c", code)
    pins = (pin.split("==") for pin in text.split())
    return {f"{re.sub('[-_.]+', '-', name).lower()}=={version}" for name, version in pins}


def test_what_is_in_an_image_is_what_its_list_and_the_lock_say(images: Project):
    base, pins = installed(BASE), {*re.findall(r"(?m)^\S+==[^\s;]+", (images.path / "requirements.txt").read_text())}
    model, training = (installed(name) - base for name in (NAME, TRAINING))
    listed = components(images.path / "build/model.cdx.json")
    only_elsewhere = {each.partition("==")[0] for each in listed - model}
    assert len(model) > 50 and model <= listed and model <= pins and len(only_elsewhere) < 10, only_elsewhere
    assert training <= components(images.path / "build/training.cdx.json") and training <= pins
    assert not [each for each in model if each.startswith(("pytest=", "great-expectations="))]


def test_what_is_built_again_is_the_same(images: Project):
    for name in (NAME, TRAINING, SERVER):
        docker("tag", name, f"first/{name}")
    build(images, BUILD="--no-cache")
    for name in (NAME, TRAINING, SERVER):
        one, two = contents(f"first/{name}"), contents(name)
        assert len(one) > 10_000 and [path for path in one | two if one.get(path) != two.get(path)] == [], name


def test_the_training_image_runs_the_line_by_itself(images: Project):
    words = ["python", "-m", "penguin_classifier", "platform=ci", *SMALL]
    printed = docker("run", "--rm", "--network", "none", TRAINING, *words)
    assert "penguin-classifier-penguins version 1 is champion" in printed, printed
    assert "the work tree is clean" in printed


def test_the_champions_image_answers_as_predict_does(images: Project, tmp_path: Path):
    scores, source = tmp_path / "scores.csv", images.path / "data/raw/penguins.csv"
    done = images.python("predict", f"input={source}", f"output={scores}")
    assert done.code == 0, done.printed
    options = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    name = docker("run", "--detach", *options, NAME).strip()
    for _ in range(120):
        if docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy":
            break
        time.sleep(1)
    raw = pl.read_csv(source, null_values="NA", infer_schema_length=None).drop("sex", "year")
    raw = raw.with_columns(pl.col(pl.Int64).cast(pl.Float64))
    rows = json.dumps({"dataframe_split": {"columns": raw.columns, "data": raw.rows()}})
    answers = docker("exec", "--interactive", name, "python", "-c", ASK, input=rows)
    docker("stop", "--time", "1", name)
    docker("rm", name)
    answered = pl.DataFrame(json.loads(answers)["predictions"])
    written = pl.read_csv(scores).select(answered.columns)
    assert answered.height > 300 and answered.equals(written), (answered, written)


def test_mlflow_run_by_the_engine_here_against_the_servers_image(images: Project):
    """`mlflow run deploy/kubernetes` without a backend: a container of the training image, and one of the server's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address, user = f"http://127.0.0.1:{port}", {"USERNAME": "admin", "PASSWORD": SECRET}
    known = {"MLFLOW_TRACKING_URI": address} | {f"MLFLOW_TRACKING_{name}": value for name, value in user.items()}
    (images.path / ".env").write_text("".join(f"{name}={value}\n" for name, value in known.items()))
    held = {f"MLFLOW_AUTH_ADMIN_{name}": value for name, value in user.items()}
    held |= {"MLFLOW_FLASK_SERVER_SECRET_KEY": SECRET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    options = [word for name, value in held.items() for word in ("--env", f"{name}={value}")]
    server = ["mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    name = docker("run", "--detach", "--network", "host", *options, SERVER, *server).strip()
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/health").close()
            break
        except OSError:
            time.sleep(0.5)
    typed = {"platform": "server", "gate.serving": "false", "description": """it's "so" [a, b] $HOME"""}
    typed |= dict(word.split("=") for word in SMALL)
    words = [word for key, value in typed.items() for word in ("-P", f"{key}={value}")]
    words += ["-A", "network=host", "-A", f"env-file={images.path}/.env", "--experiment-name", "penguin-classifier"]
    done = images.run("mlflow", "run", "deploy/kubernetes", *words, **known)
    (images.path / ".env").unlink()
    assert done.code == 0 and f"{NAME} version 1 is champion" in done.printed, done.printed
    code = f"""
import mlflow
client = mlflow.MlflowClient()
tags = client.get_run(client.get_model_version_by_alias("{NAME}", "champion").run_id).data.tags
print(tags["git.commit"], tags["mlflow.note.content"])"""
    said = images.fork("-c", code, **known)
    commit = images.run("git", "rev-parse", "HEAD").printed.strip()
    assert commit in said.printed and typed["description"] in said.printed, said.printed
    docker("rm", "--force", name)
