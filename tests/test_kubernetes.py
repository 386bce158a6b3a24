"""deploy/kubernetes/ without a cluster: its manifests are held to Kubernetes' own schemas, the training image's steps
are done as commands in a folder, and what is sent to a stand-in for the cluster runs there as processes."""

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import FOLDER, Project, bake, served, settings

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123
DIGEST = f"sha256:{'5' * 64}"
MODEL = "penguin-classifier-penguins"
SMALL = {"- model: blend": "- model: logistic", "resamples: 400": "resamples: 20", "repeats: 5": "repeats: 0"}
RECORD = "outcome.json"  # that a stage is done
IMAGE = "registry.example.org/penguin-classifier"


def manifests(project: Path) -> dict[str, list[dict]]:
    """All that is sent to a cluster, by the environment: as kustomize gives it, and the Job."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which has kustomize in it, is not installed")
    made = {}
    for place in ("staging", "production"):
        words = ["kubectl", "kustomize", f"deploy/kubernetes/{place}"]
        text = subprocess.run(words, cwd=project, check=True, capture_output=True, text=True).stdout
        made[place] = list(yaml.safe_load_all(text))
    return made | {"job": [yaml.safe_load((project / "deploy/kubernetes/job.yaml").read_text())]}


def check(manifest: dict) -> None:
    """Refuses what an API server refuses: a field that there is not, a name that is none, a pod that may be root."""
    named = {**manifest, "metadata": {"name": "generated", **manifest["metadata"]}}
    kubernetes_validate.validate(named, "1.37", strict=True)
    assert LABEL.fullmatch(named["metadata"]["name"]), named["metadata"]
    for pod in pods(manifest):
        held = pod["securityContext"]
        assert held["runAsNonRoot"] and held["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["automountServiceAccountToken"] is False
        for each in pod["containers"]:
            assert LABEL.fullmatch(each["name"]), each["name"]
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {*each["resources"]["requests"]} == {"cpu", "memory"} and each["resources"]["limits"]["memory"]
            assert "value" not in str([one for one in each.get("env", []) if re.search("PASS|TOKEN", one["name"])])
            volumes = {one["name"] for one in pod["volumes"]}
            assert {one["name"] for one in each["volumeMounts"]} <= volumes


def pods(manifest: dict) -> list[dict]:
    """The specification of the pods that a manifest makes: none or one."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return [spec["template"]["spec"]] if "template" in spec else []


def test_every_manifest_is_one_to_a_cluster_that_takes_no_field_too_many(tmp_path):
    project = bake(tmp_path, deploy="kubernetes", project_name="2024 Sales_Forecast.of the North and the far West")
    for place, found in manifests(project).items():
        kinds = collections.Counter(each["kind"] for each in found)
        for each in found:
            check(each)
            if place != "job" and each["kind"] != "Namespace":
                assert each["metadata"]["namespace"] == f"p-2024-sales-forecast-of-the-north-a-{place}"
        if place == "job":
            assert found[0]["metadata"]["namespace"] == "p-2024-sales-forecast-of-the-north-a-staging"
            continue
        assert kinds["CronJob"] == kinds["NetworkPolicy"] == 2 and len(kinds) == 9, kinds
        by = {(each["kind"], each["metadata"]["name"]): each for each in found}
        assert all(
            ("suspend" in by["CronJob", name]["spec"]) == (place == "staging") for name in ("monitor", "retrain")
        )
        labels = by["Deployment", "champion"]["spec"]["template"]["metadata"]["labels"]
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):  # each finds the champion's pods
            spec = by[kind, "champion"]["spec"]
            chosen = spec.get("podSelector") or spec["selector"]
            assert chosen.get("matchLabels", chosen).items() <= labels.items(), kind
        assert {
            image["image"].rpartition(":")[2] for each in found for pod in pods(each) for image in pod["containers"]
        }
        held = {each for each in by if each[0] in ("ConfigMap", "PersistentVolumeClaim")}
        assert held == {("ConfigMap", "mlflow"), ("PersistentVolumeClaim", "outputs")}
    job, cron = (pods(each)[0] for each in (found[0], by["CronJob", "monitor"]))
    for each in (job, cron):  # but for what they are: the same pod
        del each["containers"][0]["command"], each["containers"][0]["image"]
    assert job == cron
    for spec in (found[0]["spec"], by["CronJob", "retrain"]["spec"]["jobTemplate"]["spec"]):
        assert [tried(spec, code) for code in (1, 2, 3, 4, 75, 130, 137)] == [False] * 4 + [True] * 3
    command = yaml.safe_load((project / "deploy/kubernetes/MLproject").read_text())
    assert re.fullmatch(r"[a-z0-9-]{1,36}", command["name"])
    assert [*command["entry_points"]] == [*yaml.safe_load((project / "MLproject").read_text())["entry_points"]]


def tried(job: dict, code: int) -> bool:
    """Whether a pod of `job` that ended with `code` is followed by another, by its podFailurePolicy."""
    rules = [rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    return all((code in rule["values"]) == (rule["operator"] == "NotIn") for rule in rules)


class Cluster:
    """A stand-in for a cluster and for an engine: it takes a Job that a strict server would take, and runs its pods as
    processes in the folder `image`, which stands for the image that was pushed; `volumes` outlive a pod."""

    def __init__(self, image: Path, volumes: Path, configuration: dict[str, str]) -> None:
        self.image, self.volumes, self.configuration = image, volumes, configuration
        self.jobs: dict[str, dict] = {}
        self.printed: list[str] = []  # by each pod
        self.preempt_after = ""  # a pod is told to go once it has written such a file in its volume `outputs`
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            do_POST = do_GET

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                code, reply = cluster.answer(self.command, self.path.partition("?")[0], body)
                text = json.dumps(reply).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Status and reply, of Docker's API or of Kubernetes'."""
        if path == "/version":
            return 200, {"ApiVersion": "1.44"}
        if path.endswith("/images/json"):
            return 200, [{"Id": DIGEST, "RepoTags": [f"{IMAGE}:latest"]}]
        if "/distribution/" in path:
            return 200, {"Descriptor": {"digest": DIGEST}, "Platforms": []}
        if "/images/" in path:
            return 200, {"Id": DIGEST, "RepoTags": [f"{IMAGE}:latest"]} if method == "GET" else {"status": "pushed"}
        place = re.fullmatch(r"/apis/batch/v1/namespaces/([\w-]+)/jobs(?:/([\w-]+)/status)?", path)
        assert place, path
        if method == "GET":
            return 200, self.jobs[place[2]]
        job = json.loads(body)
        try:
            check(job)
            assert job["metadata"]["namespace"] == place[1]
            assert pods(job)[0]["containers"][0]["image"] == f"{IMAGE}:latest@{DIGEST}"
        except Exception as error:  # as an API server would
            return 422, {"kind": "Status", "status": "Failure", "message": str(error)}
        self.jobs[job["metadata"]["name"]] = job
        threading.Thread(target=self.run, args=[job]).start()
        return 201, job

    def run(self, job: dict) -> list[int]:
        """The exit codes of the Job's pods, one after the other, as its controller makes them."""
        spec = job["spec"].get("jobTemplate", job)["spec"]
        job["status"] = {"startTime": "2026-11-30T00:00:00Z"}
        codes = []
        while len(codes) <= spec["backoffLimit"]:
            codes.append(self.pod(spec["template"]["spec"]))
            if not codes[-1] or not tried(spec, codes[-1]):
                break
        done = {"type": "Failed" if codes[-1] else "Complete", "status": "True", "message": f"codes {codes}"}
        job["status"] |= {"conditions": [done]}
        return codes

    def pod(self, spec: dict) -> int:
        """The exit code of the pod's container."""
        [container] = spec["containers"]
        places = {"/venv": self.image / "venv", "/project": self.image / "project"}
        for mount in container["volumeMounts"]:
            places[mount["mountPath"]] = self.volumes / mount["name"]
            places[mount["mountPath"]].mkdir(exist_ok=True)

        def here(text: str) -> str:
            """`text` of the image as it is outside of one."""
            return re.sub(r"(?<![\w/])/(venv|project|tmp)\b", lambda each: str(places[each[0]]), text)

        mounted = self.image / "project/outputs"
        if not mounted.is_symlink():
            mounted.rmdir()
            mounted.symlink_to(self.volumes / "outputs")
        known = {name: here(value) for name, value in environment_of(self.image).items()}
        known |= {"PATH": f"{places['/venv']}/bin:/usr/bin:/bin", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        known |= {"TMPDIR": str(self.volumes / "tmp"), "OMP_NUM_THREADS": "1"} | self.configuration
        known |= {each["name"]: each["value"] for each in container.get("env", [])}
        words = [here(word) for word in container["command"]]
        outputs = self.volumes / "outputs"
        before = [*outputs.glob(self.preempt_after)] if self.preempt_after else []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(words, cwd=here(container["workingDir"]), env=known, **pipes)
        if self.preempt_after:
            while [*outputs.glob(self.preempt_after)] == before and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            self.preempt_after = ""
        self.printed.append(process.communicate()[0])
        return process.returncode


def instructions(image: Path) -> list[tuple[str, str]]:
    """The instructions of the training image's Dockerfile, in order."""
    text = (image / "context/deploy/kubernetes/Dockerfile").read_text()
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line and not line.startswith("#")]


def environment_of(image: Path) -> dict[str, str]:
    """The environment that the image sets, of its last stage."""
    found = instructions(image)
    last = max(at for at, (step, _) in enumerate(found) if step == "FROM")
    text = " ".join(words for step, words in found[last:] if step == "ENV")
    return dict(word.split("=", 1) for word in text.replace("$COMMIT", (image / "commit").read_text()).split())


def files(folder: Path) -> dict[str, int]:
    """When each file below `folder` was written, but for what is a volume there."""
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return {str(path): path.lstat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def project(wider: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for Kubernetes, its small model and its lock committed."""
    project = Project(bake(tmp_path_factory.mktemp("generated"), deploy="kubernetes"), wider)
    path = project.path / "conf/config.yaml"
    text = path.read_text()
    for old, new in SMALL.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    [lock] = environment.parent.glob("*/uv.lock")
    shutil.copy(lock, project.path)
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "A small model"]):
        done = project.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words)
        assert done.code == 0, done.printed
    return project


@pytest.fixture(scope="module")
def image(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training image as a folder: what `make training` sends to an engine, and the Dockerfile's steps done so."""
    base = tmp_path_factory.mktemp("image")
    tools = base / "tools"
    tools.mkdir()
    (tools / "docker").write_text(f'#!/bin/sh\ntest "$1" = info || {{ cat > {base}/tar; echo "$@" > {base}/words; }}\n')
    (tools / "docker").chmod(0o755)
    (project.path / "secret.txt").write_text("in no commit")
    path = os.pathsep.join([str(tools), settings()["PATH"]])
    done = project.run("make", "training", PATH=path)
    assert done.code == 0, done.printed
    with tarfile.open(base / "tar") as context:
        context.extractall(base / "context", filter="data")
    words = (base / "words").read_text().split()
    assert words[:3] == ["build", "--tag", IMAGE] and words[-3:] == ["--file", "deploy/kubernetes/Dockerfile", "-"]
    (base / "commit").write_text(words[words.index("--build-arg") + 1].removeprefix("COMMIT="))
    (base / "build").mkdir()
    (base / "project").mkdir()
    folder, known = base, {"UV_LINK_MODE": "hardlink", "UV_COMPILE_BYTECODE": "1"}
    for step, words in instructions(base):
        if step == "WORKDIR":
            folder = base / words.strip("/")
        elif step == "COPY" and not words.startswith("--from"):  # the environment is where it goes to already
            source, target = words.split()
            copied = base / "context" / source
            place = folder / target
            shutil.copytree(copied, place, dirs_exist_ok=True) if copied.is_dir() else shutil.copy(copied, place)
        elif step == "RUN":
            words = words.replace("/venv", f"{base}/venv").replace("/project", f"{base}/project")
            words = re.sub(r"useradd [^&]+&& |--owner=\d+ |pip install --no-cache-dir uv==.*", "", words)
            done = Project(folder, project.environment).run("sh", "-c", words, **known)
            assert done.code == 0, done.printed
    return base


@pytest.fixture(scope="module")
def cluster(project: Project, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A stand-in cluster of that image, with a tracking server that its pods reach."""
    volumes = tmp_path_factory.mktemp("volumes")
    words = ["mlflow", "server", "--port", "{port}", "--backend-store-uri", f"sqlite:///{volumes}/server.db"]
    with served(project, *words, "--artifacts-destination", f"{volumes}/files", path="/health") as address:
        staging = manifests(project.path)["staging"]
        [settled] = [each["data"] for each in staging if each["kind"] == "ConfigMap"]
        yield Cluster(image, volumes, settled | {"MLFLOW_TRACKING_URI": address})


def versions(cluster: Cluster, project: Project) -> list[list]:
    """Number, aliases and tags of each version on the cluster's server, and the tags of its run."""
    code = f"""
import json, mlflow
client = mlflow.MlflowClient()
found = [client.get_model_version("{MODEL}", each.version) for each in client.search_model_versions("name='{MODEL}'")]
print(json.dumps(sorted([int(v.version), [*v.aliases], client.get_run(v.run_id).data.tags] for v in found)))"""
    done = project.fork("-c", code, MLFLOW_TRACKING_URI=cluster.configuration["MLFLOW_TRACKING_URI"])
    assert done.code == 0, done.printed
    return json.loads(done.lines[-1])


@pytest.mark.slow
def test_the_training_image_holds_the_commit_and_its_lock_alone(project: Project, image: Path):
    tool = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([tool, image / "context/deploy/kubernetes/Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    found = instructions(image)
    assert [words for step, words in found if step == "USER"] == ["10001"] and found[-1][0] == "CMD"
    committed = project.run("git", "ls-files").lines
    inside = {
        path.relative_to(image / "context").as_posix() for path in (image / "context").rglob("*") if path.is_file()
    }
    assert inside == {*committed} - {".dockerignore"}
    pins = {line.split("==")[0] for line in (FOLDER / "requirements.txt").read_text().splitlines() if "==" in line}
    listed = json.loads((project.path / "build/training.cdx.json").read_text())
    parts = {each["name"]: each["version"] for each in listed["components"]}
    assert listed["bomFormat"] == "CycloneDX" and pins <= {*parts}, pins - {*parts}
    packages = image.glob("venv/lib/python3*/site-packages/*.dist-info")
    assert not {each.name.split("-")[0] for each in packages} & {"uv", "pip", "pytest", "ruff"}
    assert next(image.glob("venv/lib/python3*/site-packages/mlflow/__pycache__/*.pyc"))


@pytest.mark.slow
def test_a_job_a_watch_and_a_retraining_run_by_their_manifests(project: Project, cluster: Cluster):
    found = manifests(project.path)
    before = files(cluster.image)
    assert cluster.run(found["job"][0]) == [0], cluster.printed
    [[_, aliases, tags]] = versions(cluster, project)
    head = project.run("git", "rev-parse", "HEAD").lines[0]
    assert aliases == ["champion"] and (tags["git.commit"], tags["git.dirty"]) == (head, "false")
    crons = {each["metadata"]["name"]: each for each in found["production"] if each["kind"] == "CronJob"}
    rows = (project.path / "data/raw/penguins.csv").read_text().splitlines()
    shifted = [line.replace(",3", ",9") for line in rows[1:]]
    (cluster.volumes / "new.csv").write_text("\n".join([rows[0], *shifted]))
    cluster.configuration["INPUT"] = f"{cluster.volumes}/new.csv"
    assert cluster.run(crons["monitor"]) == [3], cluster.printed[-1]
    assert files(cluster.image) == before  # a root that is read only
    source = cluster.image / "project/data/raw/penguins.csv"
    source.write_text("\n".join([*rows, rows[1]]))
    assert cluster.run(crons["retrain"]) == [0], cluster.printed[-1]
    assert [aliases for _, aliases, _ in versions(cluster, project)] == [["champion"], ["challenger"]]
    cluster.configuration["INPUT"] = ""
    assert cluster.run(crons["retrain"]) == [0], cluster.printed[-1]
    assert len(versions(cluster, project)) == 2


@pytest.mark.slow
def test_mlflows_backend_runs_a_job_that_goes_on_after_its_pod_is_gone(project: Project, cluster: Cluster, tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    where = {"cluster": {"server": f"http://{cluster.address}"}, "name": "stand-in"}
    context = {"context": {"cluster": "stand-in", "user": "nobody"}, "name": "stand-in"}
    users = [{"name": "nobody", "user": {"token": "none"}}]
    kept = {"apiVersion": "v1", "kind": "Config", "clusters": [where], "contexts": [context], "users": users}
    (tmp_path / "config").write_text(yaml.safe_dump(kept | {"current-context": "stand-in"}))
    known = {"KUBECONFIG": f"{tmp_path}/config", "DOCKER_HOST": f"tcp://{cluster.address}"}
    known |= {"MLFLOW_TRACKING_URI": cluster.configuration["MLFLOW_TRACKING_URI"]}
    known |= {"PATH": f"{tmp_path}:{project.environment}/bin:{settings()['PATH']}"}
    typed = {
        "platform": "server",
        "description": """it's "so" [a, b] $HOME""",
        "evaluation.slices": "[island,sex]",
        "seed": "7",
    }
    words = [word for key, value in typed.items() for word in ("-P", f"{key}={value}")]
    cluster.preempt_after = f"split/[!.]*/{RECORD}"
    command = ["python", "deploy/kubernetes/run.py", *words, "--experiment-name", "penguin-classifier"]
    done = project.run(*command, **known)
    assert done.code == 0, "\n".join([done.printed, *cluster.printed])
    [job] = cluster.jobs.values()
    assert LABEL.fullmatch(job["metadata"]["name"]) and job["status"]["conditions"][0]["message"] == "codes [130, 0]"
    first, second = cluster.printed[-2:]
    assert "interrupted" in first and re.search(r"(?m)^split .*reused", second), second
    last = json.loads((cluster.volumes / "outputs/last.json").read_text())
    made = versions(cluster, project)[-1]
    assert typed["description"] in made[2]["mlflow.note.content"], (made, last)
    assert last["overrides"][0] == "platform=server" and "++evaluation.slices=['island','sex']" in last["overrides"]


@pytest.mark.slow
def test_without_a_backend_the_engine_here_runs_it(project: Project, cluster: Cluster, tmp_path: Path):
    run = f"""#!/bin/sh
test "$1" = run || exit 0
shift
while test "$1" != {IMAGE}:latest; do
    test "$1" != -e || export "$2"
    shift
done
shift
export PYTHONPATH={cluster.image}/project
exec "$1" {cluster.image}"$2" "$3" "$4" "$5" result={tmp_path}/result.json
"""
    (tmp_path / "docker").write_text(run)
    (tmp_path / "docker").chmod(0o755)
    known = {"DOCKER_HOST": f"tcp://{cluster.address}", "PATH": f"{tmp_path}:{project.environment}/bin:/usr/bin:/bin"}
    known |= {"MLFLOW_TRACKING_URI": cluster.configuration["MLFLOW_TRACKING_URI"]}
    words = ["-e", "explain", "-P", "description=it's [a, b]", "--experiment-name", "penguin-classifier"]
    done = project.run("mlflow", "run", "deploy/kubernetes", *words, **known)
    assert done.code == 0 and "register" in done.printed, done.printed
    said = json.loads((tmp_path / "result.json").read_text())
    assert said["command"] == "explain" and "it\\'s [a, b]" in said["overrides"][0], said


def test_what_is_missing_is_a_sentence_before_anything_is_pushed(environment: Path, tmp_path: Path):
    project = Project(bake(tmp_path, deploy="kubernetes"), environment)  # which has not the extra
    run, folder = project.path / "deploy/kubernetes/run.py", project.path / "deploy/kubernetes"

    def said(**known: str) -> str:
        done = project.run("python", str(run), "-P", "seed=7", **known)
        assert done.code == 1 and len(done.lines) == 1, done.printed
        return done.printed

    assert "MLFLOW_TRACKING_URI has to name a server" in said()
    server = {"MLFLOW_TRACKING_URI": "https://mlflow.example.org"}
    assert "has no kubernetes: `uv sync --extra kubernetes`" in said(**server)
    (tmp_path / "modules/kubernetes").mkdir(parents=True)
    (tmp_path / "modules/kubernetes/__init__.py").touch()
    server["PYTHONPATH"] = f"{tmp_path}/modules"
    tools = tmp_path / "tools"
    tools.mkdir()
    assert "docker is not installed" in said(**server, PATH=f"{tools}")
    (tools / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tools / "docker").chmod(0o755)
    assert "docker's engine does not answer" in said(**server, PATH=f"{tools}")
    text = (folder / "MLproject").read_text()
    (folder / "MLproject").write_text(text.replace('name: "penguin', 'name: "Penguin.'))
    assert "name Penguin.-classifier cannot be that of a Job, which takes lower-case letters" in said(**server)
    (folder / "MLproject").write_text(text)
    job = (folder / "job.yaml").read_text()
    (folder / "job.yaml").write_text(re.sub("  namespace: .*\n", "", job))
    assert "job.yaml has no metadata.namespace" in said(**server)
    (folder / "job.yaml").unlink()
    assert "names the Job's template deploy/kubernetes/job.yaml, which is not there" in said(**server)
