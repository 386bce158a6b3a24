"""`mlflow run deploy/kubernetes --backend kubernetes`, once all that it needs is there: what is missing is one sentence
before an image is pushed. Its words are those of `mlflow run`: python deploy/kubernetes/run.py -e train -P seed=7"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

BACKEND = Path("deploy/kubernetes/backend.json")
SERVER = ("MLFLOW_TRACKING_URI", "KUBE_MLFLOW_TRACKING_URI")  # the second, where pods see it under another address


def missing() -> str | None:
    """What the command needs and does not find, and the way out."""
    name = str(yaml.safe_load(BACKEND.with_name("MLproject").read_text("utf-8")).get("name"))
    job = Path(json.loads(BACKEND.read_text("utf-8"))["kube-job-template-path"])
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,34}[a-z0-9])?", name):
        rule = "takes lower-case letters, digits and -, at most 36"
        return f"{BACKEND.parent}/MLproject: name {name} cannot be that of a Job, which {rule}: shorten or rename it"
    if not job.is_file():
        return f"{BACKEND} names the Job's template {job}, which is not there: run this in the project's folder"
    if not yaml.safe_load(job.read_text("utf-8"))["metadata"].get("namespace"):
        return f"{job} has no metadata.namespace: write there in which one Jobs run"
    if not os.environ.get(SERVER[0], "").startswith(("http://", "https://", "databricks")):
        other = f"or {SERVER[1]}, as they see it"
        return f"{SERVER[0]} has to name a server that pods reach ({other}): set it, or `uv run --env-file .env`"
    if not importlib.util.find_spec("kubernetes"):
        return f"{sys.executable} has no kubernetes: `uv sync --extra kubernetes`, or `make kubernetes`"
    if not shutil.which("docker"):
        return "docker is not installed, and MLflow pushes the image with it: `kubectl create -f` of the Job needs none"
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "docker's engine does not answer, and MLflow pushes the image with it: start it, or set DOCKER_HOST"
    return None


if __name__ == "__main__":
    if sentence := missing():
        sys.exit(sentence)
    words = ["mlflow", "run", str(BACKEND.parent), "--backend", "kubernetes", "--backend-config", str(BACKEND)]
    os.execvp(words[0], [*words, *sys.argv[1:]])
