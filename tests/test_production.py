"""deploy/server/ as a team would use it: started by `make server`, as processes with the commands and settings of
compose.yaml; users, their runs, a database that is killed, back-up, restoring, upgrade."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import yaml
from conftest import FOLDER, SECRET, Done, Project, bake, locked, settings
from test_answers import DATA, visits
from test_deployments import Traffic

SERVER = FOLDER / "deploy/server"
MODEL = "penguin-classifier-penguins"
LINE = ["register", "model=forest", "evaluation.resamples=20", "evaluation.importance_repeats=0", "platform=server"]
LINE += ["gate.clean_tree=false", "gate.serving=false", "gate.max_loss=1"]
PORTS = ("HTTPS_PORT", "PGPORT", "MLFLOW_PORT", "S3_PORT", "S3_MASTER_PORT", "S3_VOLUME_PORT", "S3_FILER_PORT")
USERS = """
roles:
  team:
    experiment: {"*": EDIT}
    registered_model: {"*": EDIT}
  penguins:
    experiment: {penguin-classifier: EDIT}
    registered_model: {penguin-classifier-penguins: EDIT}
users:
  ana: [team]
  ben: [penguins]
  eve: []
"""


def tool(name: str, *words: str) -> subprocess.CompletedProcess:
    """What one of the template's own tools says."""
    return subprocess.run([Path(sys.executable).with_name(name), *words], capture_output=True, text=True)


def test_what_engines_read_is_what_they_specify():
    checked = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(SERVER / "compose.yaml"))
    assert checked.returncode == 0, checked.stdout
    assert tool("hadolint", str(SERVER / "Dockerfile")).returncode == 0
    text = (SERVER / "compose.yaml").read_text()
    images = [part["image"] for part in yaml.safe_load(text)["services"].values() if "image" in part]
    assert all(re.search(r":\d", image) for image in images), "an image without a version"
    assert not re.search(r"(PASSWORD|KEY\w*|ID): \w", text), "a password"
    policy = json.loads((SERVER / "bucket-policy.json").read_text())
    allowed = {action for each in policy["Statement"] for action in each["Action"]}
    assert {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"} <= allowed and "s3:*" not in allowed


def test_the_server_has_the_project_s_mlflow_and_an_environment_of_its_own():
    server, project = ((folder / "requirements.txt").read_text() for folder in (SERVER, FOLDER))
    [version] = re.findall(r"(?m)^mlflow==(\S+)", project)
    assert f"\nmlflow=={version}\n" in server
    assert f"\nmlflow[auth]=={version}\n" in (SERVER / "requirements.in").read_text()
    for name in ("boto3", "psycopg-binary", "flask-wtf"):
        assert re.search(rf"(?m)^{name}==", server) and not re.search(rf"(?m)^{name}==", project)


def test_in_containers_the_parts_have_each_other_s_names(monkeypatch):
    monkeypatch.syspath_prepend(SERVER)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import server

    text = (SERVER / "compose.yaml").read_text()
    known = dict.fromkeys(re.findall(r"\$\{(\w+):\?", text), SECRET)
    parts = server.filled(yaml.safe_load(text), known)["services"]
    mlflow = parts["mlflow"]["environment"]
    assert (mlflow["PGHOST"], mlflow["MLFLOW_S3_ENDPOINT_URL"]) == ("postgres", "http://s3:8333")
    assert mlflow["MLFLOW_SERVER_ALLOWED_HOSTS"] == "localhost,localhost:8443,mlflow:5000"
    assert "--host=0.0.0.0" in parts["mlflow"]["command"] and "-ip=s3" in parts["s3"]["command"]
    assert "--listen_addresses=*" in parts["postgres"]["command"]
    assert [name for name in parts if "ports" in parts[name]] == ["nginx"]
    assert parts["nginx"]["ports"] == ["0.0.0.0:8443:8443"]
    assert mlflow == parts["setup"]["environment"] == parts["tool"]["environment"]
    with pytest.raises(SystemExit, match=r"PGPASSWORD in .* is not set"):
        server.filled("${PGPASSWORD:?is not set}", {})


def test_an_engine_is_told_the_same(tmp_path):
    """By a command that prints what it is told."""
    folder = copied(tmp_path / "server")
    settings_file = folder / "settings.env"
    settings_file.write_text(settings_file.read_text().replace("ENGINE=\n", "ENGINE=echo engine\n"))
    assert do(folder, "start").lines[-1] == "engine up --build --detach"
    assert do(folder, "users").lines == [f"engine run --rm --env HERE={folder} tool python users.py"]
    dumped, bucket, whole = do(folder, "backup").lines
    name = re.fullmatch(r"engine run --rm --env BACKUP=(.+)\.part dump", dumped)[1]
    assert bucket == f"engine run --rm tool python tasks.py save-bucket state/backup/{name}.part/bucket"
    assert whole.startswith(f"{folder}/state/backup/{name} is whole") and (folder / "state/backup" / name).is_dir()


def copied(folder: Path) -> Path:
    shutil.copytree(SERVER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def do(folder: Path, *words: str, **more: str) -> Done:
    """What server.py prints, where MLflow is not installed."""
    command = [sys.executable, str(folder / "server.py"), *words]
    done = subprocess.run(command, env=settings(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return Done(done.returncode, done.stdout)


def test_passwords_are_made_once_and_differ(tmp_path):
    values = []
    for name in ("one", "two"):
        folder = copied(tmp_path / name)
        first, again = do(folder, "settings"), do(folder, "settings")
        assert first.code == 0 and "new passwords" in first.printed and again.printed == ""
        assert (folder / ".env").stat().st_mode & 0o077 == 0
        values.append(dict(re.findall(r"(?m)^(\w+)=(.*)$", (folder / ".env").read_text())))
    made = {name for name in values[0] if values[0][name] != values[1][name]}
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    assert made == {"PGPASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", *keys}
    assert all(len(values[0][name]) >= 32 for name in made)


def test_wrong_use_is_a_sentence(tmp_path):
    folder = copied(tmp_path / "server")
    assert "server.py start" in do(folder).printed and do(folder).printed == do(folder, "restore").printed
    assert do(folder, "status").printed == f"there is no `status`; there is:\n{do(folder).printed}"
    do(folder, "settings")
    missing = do(folder, "start", PATH=str(tmp_path))
    if not shutil.which("initdb", path=os.pathsep.join(map(str, Path("/usr/lib/postgresql").glob("*/bin")))):
        assert missing.code == 1 and missing.lines[-1].startswith("initdb is not installed: postgresql brings it; or")
    env = folder / ".env"
    env.write_text(re.sub(r"(?m)^PGPASSWORD=.*\n", "", env.read_text()))
    assert "PGPASSWORD in " in do(folder, "backup").printed
    assert do(folder, "restore", "yesterday").printed.endswith(": there is none\n")


def test_units_hold_the_same_commands_and_no_password(tmp_path, programs):
    verify = shutil.which("systemd-analyze")
    if not verify:
        pytest.skip("systemd-analyze is not here")
    folder = copied(tmp_path / "server")
    if not os.getuid():
        shutil.chown(folder, "daemon")
    plant(folder)
    (tmp_path / "mlflow").write_text("#!/bin/sh\n")
    (tmp_path / "mlflow").chmod(0o755)
    done = do(folder, "units", PATH=os.pathsep.join([str(programs), str(tmp_path), os.environ["PATH"]]))
    assert done.code == 0, done.printed
    units = sorted((folder / "state/units").iterdir())
    assert [unit.stem.removeprefix("mlflow-") for unit in units] == ["mlflow", "nginx", "postgres", "s3", "setup"]
    checked = subprocess.run([verify, "verify", *units], capture_output=True, text=True)
    assert checked.returncode == 0 and "mlflow-" not in checked.stderr, checked.stderr
    texts = "".join(unit.read_text() for unit in units)
    assert SECRET not in texts and "--app-name=basic-auth" in texts and f"EnvironmentFile={folder}/.env" in texts


def plant(folder: Path, **more: str) -> None:
    """Puts secrets that tests look for in the place of those that the first start would make, and settings."""
    given = re.sub(rf"(?m)^({'|'.join(more) or 'none'})=.*\n", "", (folder / "settings.env").read_text())
    given = given.replace("AWS_ACCESS_KEY_ID=\n", "AWS_ACCESS_KEY_ID=team\n")  # the key's name, which S3 logs
    for name in {*re.findall(r"(?m)^(\w+)=$", given)} - {"ENGINE"}:
        given = given.replace(f"{name}=\n", f"{name}={SECRET}{name.lower().replace('_', '')}\n")
    (folder / "settings.env").write_text(given + "".join(f"{name}={value}\n" for name, value in more.items()))


# --- One server, and what a team does with it


class Team:
    """A project with deploy/server/, whose server is started by make; nobody but this machine reaches it."""

    def __init__(self, base: Path, environment: Path, programs: Path, venv: Path) -> None:
        self.project = Project(bake(base, deploy="all"), environment)
        self.folder, self.log = self.project.path / "deploy/server", base / "make.log"
        self.known = settings() | {"PATH": os.pathsep.join([str(programs), settings()["PATH"]])}
        self.ports = dict(zip(PORTS, map(str, free_ports()), strict=True))
        plant(self.folder, HTTPS_ADDRESS="127.0.0.1", WORKERS="1", **self.ports)
        (self.folder / "users.yaml").write_text(USERS)
        (self.folder / ".venv").symlink_to(venv)
        (venv / "ready").touch()  # newer than these requirements

    def __enter__(self) -> "Team":
        with self.log.open("a") as log:
            options = {"stdout": log, "stderr": log, "start_new_session": True}
            self.process = subprocess.Popen(["make", "server"], cwd=self.project.path, env=self.known, **options)
        self.until("answers; logs are in")
        return self

    def __exit__(self, *_) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)

    def until(self, text: str) -> None:
        """Waits for a text in what `make server` prints."""
        for _ in range(1800):
            if text in self.log.read_text():
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def make(self, what: str) -> Done:
        """What `make server DO=...` prints."""
        words = ["make", "server", f"DO={what}"]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(words, cwd=self.project.path, env=self.known, **options)
        return Done(done.returncode, done.stdout)

    def user(self, name: str) -> dict[str, str]:
        """What a user's project has in its environment."""
        text = (self.folder / f"state/users/{name}.env").read_text()
        return dict(re.findall(r"(?m)^(\w+)=(.*)$", text))

    def python(self, name: str, *words: str) -> Done:
        """What the package says to `name`."""
        return self.project.end(self.start(name, *words))

    def start(self, name: str, *words: str) -> int:
        """The process of a command that `name` types."""
        return self.project.start(*words, PATH=self.known["PATH"], **self.user(name))

    def postgres(self) -> int:
        """The process of this team's PostgreSQL."""
        return int((self.folder / "state/postgres/data/postmaster.pid").read_text().splitlines()[0])


def free_ports() -> list[int]:
    """Ports of which SeaweedFS may take those 10000 above as well."""
    ports, port = [], 12000 + os.getpid() % 5000
    while len(ports) < len(PORTS):
        port += 1
        with socket.socket() as probe, socket.socket() as above:
            if probe.connect_ex(("127.0.0.1", port)) and above.connect_ex(("127.0.0.1", port + 10000)):
                ports.append(port)
    return ports


@pytest.fixture(scope="module")
def venv() -> Path:
    """The server's environment, made by `make`; kept between test runs."""
    key = hashlib.sha256((SERVER / "requirements.txt").read_bytes() + sys.version.encode()).hexdigest()[:12]
    with locked(f"server-{key}") as folder:
        made = folder / "penguin-classifier/deploy/server/.venv"
        if not (made / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            words, project = ["make", "deploy/server/.venv/ready"], bake(folder, deploy="server")
            done = subprocess.run(words, cwd=project, env=settings(), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def team(environment: Path, programs: Path, venv: Path) -> Iterator[Team]:
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    base.chmod(0o755)  # PostgreSQL runs as another user than root
    try:
        with Team(base / "first", environment, programs, venv) as made:
            applied = made.make("users")
            assert "3 users and 2 roles are as users.yaml has them" in applied.lines, applied.printed
            yield made
    finally:
        shutil.rmtree(base)


@pytest.mark.slow
def test_two_lines_at_once_through_tls_while_the_database_is_killed(team):
    """By users with EDIT, of everything and of this experiment and this model; who may only read is told so."""
    running = [team.start(name, *LINE, f"model.n_estimators={trees}") for name, trees in (("ana", 5), ("ben", 10))]
    until = time.monotonic() + 60
    while not list(team.project.path.glob("outputs/**/*.parquet")):  # until a first stage is through
        assert time.monotonic() < until, [team.project.end(each) for each in running]
        time.sleep(0.1)
    os.kill(team.postgres(), signal.SIGKILL)
    both = [team.project.end(each) for each in running]
    team.until("postgres ended with -9: started again")
    for done in both:
        assert done.code == 0, done.printed
        second = "became champion meanwhile" in done.printed  # and the candidate was compared with none
        assert re.search(rf"{MODEL} version \d is {'challenger' if second else 'champion'}", done.printed), done.printed
        assert f"look: https://localhost:{team.ports['HTTPS_PORT']}/#/experiments/" in done.printed
    refused = team.python("eve", *LINE, "model.n_estimators=20")
    assert refused.code == 1 and len(refused.lines) == 1, refused.printed
    assert "does not let eve do this (runs/create): its administrator gives the permission" in refused.printed


@pytest.mark.slow
def test_who_is_let_in(team):
    """Nobody without a password, by no other name of the server, from no other site; users as users.yaml says."""
    health = f"https://localhost:{team.ports['HTTPS_PORT']}/health"
    address = health.replace("health", "api/2.0/mlflow/experiments/search?max_results=1")
    trust = ssl.create_default_context(cafile=team.folder / "state/nginx/server.crt")
    words = ":".join(team.user("ana")[f"MLFLOW_TRACKING_{each}"] for each in ("USERNAME", "PASSWORD"))
    known = {"Authorization": "Basic " + base64.b64encode(words.encode()).decode()}

    def status(context=trust, url=address, body=None, **headers: str) -> int:
        headers["Content-type"] = "application/json"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), context=context) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert (status(), status(**known), status(url=health)) == (401, 200, 200)
    assert status(**known, Host="elsewhere.example.com") == 403
    ours = health.removesuffix("/health")
    for origin, answered in ((ours, 200), ("https://elsewhere.example.com", 403)):
        assert status(**known, body=b'{"max_results": 1}', url=address.partition("?")[0], Origin=origin) == answered
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE"):
        status(ssl.create_default_context())

    file, before = team.folder / "users.yaml", [team.user(name) for name in ("ana", "ben")]
    again = team.make("users")
    assert again.lines == ["3 users and 2 roles are as users.yaml has them"], again.printed
    assert before == [team.user(name) for name in ("ana", "ben")]
    file.write_text(USERS.replace("  eve: []\n", "  kim: [teem]\n"))
    assert "kim has the role teem, which is none of team, penguins" in team.make("users").printed
    file.write_text(USERS.replace("  ana: [team]\n", "  ana: []\n").replace("  eve: []\n", ""))
    assert "eve is no user any more" in team.make("users").lines
    assert not (team.folder / "state/users/eve.env").exists()
    create = address.partition("experiments/")[0] + "runs/create"
    assert status(**known, body=b'{"experiment_id": "1"}', url=create) == 403  # she may not any more
    file.write_text(USERS)
    assert team.make("users").code == 0


@contextmanager
def restored(team: Team, environment: Path, programs: Path, venv: Path) -> Iterator[Team]:
    """A server elsewhere that has what a back-up of the team's holds, after its tables were upgraded."""
    saved = team.make("backup")
    assert saved.code == 0, saved.printed
    [backup] = (team.folder / "state/backup").iterdir()
    assert "MLflow runs: end the server" in team.make(f"restore {backup.name}").printed
    assert "its port" in team.make("start").printed

    other = Team(team.log.parents[1] / "second", environment, programs, venv)
    shutil.copytree(backup.parent, other.folder / "state/backup")  # which is all that has to be kept
    restored = other.make(f"restore {backup.name}")
    assert restored.code == 0 and f"{backup.name} is restored" in restored.printed, restored.printed

    # The tables as the MLflow before this one left them; what `make` would do, but that the database runs meanwhile.
    older = "from mlflow.store.db.utils import _get_alembic_config as config; from alembic import command"
    older += "; command.downgrade(config('postgresql:///mlflow'), '-1')"
    tables = "import psycopg; print(psycopg.connect(dbname='mlflow').execute('TABLE alembic_version').fetchall())"
    code = f"""
import os, server
os.chdir(server.HERE)
with server.storage():
    server.once('tool', 'python', '-c', {older!r})
    server.once('tool', 'python', '-c', {tables!r})
    server.upgrade()
    server.once('tool', 'python', '-c', {tables!r})
    server.restore({backup.name!r})
"""
    words = [other.folder / ".venv/bin/python", "-c", code]
    done = subprocess.run(words, cwd=other.folder, env=other.known, capture_output=True, text=True)
    assert "MLflow's tables are upgraded: start the server; the way back is" in done.stdout, done.stderr
    before, after = re.findall(r"(?m)^\[\('(\w+)',\)\]$", done.stdout)
    assert before != after
    assert re.search(r"the server holds \d+ runs: `restore <time> --replace` puts", done.stderr), done.stderr
    assert len(list((other.folder / "state/backup").iterdir())) == 2

    (other.folder / "state/users").mkdir()
    there = (team.folder / "state/users/ana.env").read_text()
    there = there.replace(f":{team.ports['HTTPS_PORT']}", f":{other.ports['HTTPS_PORT']}")
    there = there.replace(str(team.folder), str(other.folder))  # whose certificate is another one
    (other.folder / "state/users/ana.env").write_text(there)
    with other:
        yield other


@pytest.mark.slow
def test_the_road_of_a_team(team, environment, programs, venv):
    """From a first line to a champion that was taken back and restored elsewhere, by what `ana` and `ben` type."""
    checks = "expectations: [{type: expect_column_values_to_not_be_null, kwargs: {column: a}}]\n"
    (team.project.path / "conf/data/visits.yaml").write_text(DATA + checks)
    visits(1500, 1, 0).write_csv(team.project.path / "visits.csv")
    ports = dict(zip(("staging", "production"), free_ports(), strict=False))
    at = {each: [f"deploy={each}", f"deploy.port={ports[each]}", "deploy.env_manager=local"] for each in ports}
    name, there = "penguin-classifier-visits", "registered_model=penguin-classifier-visits-production"

    def ana(says: str, job: str, *words: str) -> None:
        known = team.user("ana") | {"PATH": team.known["PATH"]}
        done = team.project.python(job, "data=visits", "platform=server", *words, **known)
        assert done.code == 0 and says in done.printed, done.printed

    def live(count: int, seed: int, start: int) -> pl.DataFrame:
        """The labels of so many rows that were posted to production, a row in each request, and who answered them."""
        table, answered = visits(count, seed, start), []
        for row in table.drop("bought").iter_rows(named=True):
            body = json.dumps({"dataframe_records": [row]}).encode()
            headers = {"Content-Type": "application/json", "X-Customer-ID": row["visit"]}
            url = f"http://127.0.0.1:{ports['production']}/invocations"
            with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
                answered.append(answer.headers["X-Model-Version"])
        return table.select("visit", "bought", by=pl.Series(answered))

    line = [word for word in LINE[1:] if "model=" not in word] + ["model=logistic"]
    poor, good = [*line, "columns.drop=[b,mail]"], [*line, "promotion=manual"]
    ana(f"{name} version 1 is champion", "register", *poor)
    try:
        ana(f"{name} version 1 answers at", "deploy", *at["staging"])
        to = ["to=production", "approver=ana", "evaluation.resamples=20", "gate.clean_tree=false"]
        ana(f"{name}-production version 1: champion", "promote", "version=1", *to, "columns.drop=[b,mail]")
        log = ["deploy.log_predictions=true", "deploy.log_seconds=1"]
        ana(f"{name}-production version 1 answers at", "deploy", *at["production"], *log)

        ana(f"{name} version 2 is challenger", "register", *good)
        ana(
            f"{name}-production version 2: challenger",
            "promote",
            "version=2",
            *to,
            "promotion=manual",
            "gate.serving=false",
        )
        live(20, 4, 30_000)  # of which version 1, that alone answers, keeps what it takes, and version 2 takes more
        share = ["deploy.challenger_share=0.1", "deploy.sticky=X-Customer-ID"]
        ana("version 2 answers 10.0% of them", "deploy", *at["production"], *log, *share)
        labels = live(400, 2, 10_000)
        assert 400 * 0.1 - 3 * 6 < (labels["by"] == "2").sum() < 400 * 0.1 + 3 * 6
        labels.drop("by").write_csv(team.project.path / "labels.csv")
        time.sleep(2)
        asked = ["input=answers/production", "labels=labels.csv", "versions=[1,2]", there]
        ana(", better\nnote: of 20 rows was kept only what the version that answered takes", "compare", *asked)

        moved = ["deploy=production", "deploy.on_promote=true", "deploy.challenger_share=0", "approver=ana"]
        row = json.dumps({"dataframe_records": [{"a": 0.1, "b": -0.2}]}).encode()
        with Traffic(ports["production"], row, reloads=True) as traffic:  # at first one in ten by version 2
            ana(f"{name}-production version 2 answers at", "promote", "version=2", "reason=labels", *moved)
            ana(f"{name}-production version 1 answers at", "rollback", "reason=trial", *moved)
            time.sleep(1)
        assert traffic.versions == {"1", "2"} and traffic.turns[-1] == "1", [*sorted(traffic.answers)][-40:]
    finally:
        for place in at:
            ana("", "deploy", "action=stop", *at[place])
    with restored(team, environment, programs, venv) as other:
        words = [f"input={team.project.path}/visits.csv", "output=scores.csv", there]
        scored = other.python("ana", "predict", *words)
        assert scored.code == 0 and f"scored by {name}-production version 1" in scored.printed, scored.printed
        assert other.make("users").code == 0, "the administrator has the new server's password"


@pytest.mark.slow
def test_no_secret_is_in_a_log_or_a_command_line(team):
    hidden = [SECRET.encode(), *(team.user(name)["MLFLOW_TRACKING_PASSWORD"].encode() for name in ("ana", "ben"))]
    logs = [*(team.folder / "state/logs").iterdir(), team.folder / "state/nginx/access.log", team.log]
    assert len(logs) == 6
    for file in logs:
        assert file.stat().st_size or file.stem == "nginx", file
        assert not [secret for secret in hidden if secret in file.read_bytes()], file
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        if status.exists():
            assert not [secret for secret in hidden if secret in status.read_bytes()], status.read_bytes()
    kept = [path for path in team.project.path.rglob("*") if path.is_file() and ".venv" not in path.parts]
    found = {path for path in kept for secret in hidden if secret in path.read_bytes()}
    found -= {team.folder / "settings.env", team.folder / ".env"}  # the first: planted there by this test
    assert not [path for path in found if path.parent != team.folder / "state/users"], found
    untracked = team.project.run("git", "status", "--porcelain", "--untracked-files=all").lines
    assert not [line for line in untracked if re.search(r"/\.env|/state/", line)], untracked
