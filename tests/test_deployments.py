"""What answers over HTTP follows the registry: no request is lost, none is answered by a mixture, and nothing is
switched to that does not answer as it should."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Project, bake, served
from test_projects import NAME, QUICK

pytestmark = pytest.mark.slow
MODEL = f"{NAME}-penguins"
LINE = ["register", *QUICK, "gate.max_loss=1"]
ROWS = {
    "columns": ["species", "island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"],
    "data": [["Adelie", "Biscoe", 40.1, 18.2, 190.0, None], ["Gentoo", "Biscoe", 46.1, 13.2, 211.0, 4500.0]],
}
BODY = json.dumps({"dataframe_split": ROWS}).encode()


@pytest.fixture(scope="module", autouse=True)
def nginx(programs: Path) -> Iterator[None]:
    """On PATH, whether this machine has one or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        yield


class Deployed:
    """A project with versions 1 (champion) and 2 (challenger), and what it deployed as `local`, on a free port."""

    def __init__(self, project: Project) -> None:
        self.project, self.folder = project, project.path / "deployed/local"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def words(self, job: str, *words: str) -> list[str]:
        return [job, "deploy=local", f"deploy.port={self.port}", *words]

    def __call__(self, job: str, *words: str, code: int = 0) -> str:
        """What the command prints."""
        done = self.project.python(*self.words(job, *words))
        assert done.code == code, done.printed
        return done.printed

    def post(self, customer: str = "", body: bytes = BODY) -> tuple[str, bytes]:
        """Which version answers, and what."""
        headers = {"Content-Type": "application/json", "X-Customer-ID": customer}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/invocations", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.headers["X-Model-Version"], answer.read()

    def servers(self) -> list[Path]:
        """The folders of all servers that run or lie there."""
        return sorted(path for path in self.folder.glob("[0-9]*-*") if path.is_dir())

    def processes(self) -> dict[str, list[psutil.Process]]:
        """All processes of servers, by the folder of each."""
        found: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            try:
                folder = Path(process.environ().get("MODEL_SERVER_FOLDER", ""))
            except (psutil.Error, OSError):
                continue
            if folder.parent == self.folder:
                found.setdefault(folder.name, []).append(process)
        return found

    def tags(self, version: int) -> dict[str, str]:
        ask = f"import json; print(json.dumps(client.get_model_version('{MODEL}', '{version}').tags))"
        return json.loads(self.project.ask(ask))


@pytest.fixture(scope="module")
def deployed(environment, tmp_path_factory) -> Iterator[Deployed]:
    project = Project(bake(tmp_path_factory.mktemp("deployed"), deploy="all"), environment)
    for words in (["model=logistic"], ["model=forest", "model.n_estimators=5", "promotion=manual"]):
        done = project.python(*LINE, *words)
        assert done.code == 0, done.printed
    made = Deployed(project)
    yield made
    made("deploy", "action=stop")
    assert made.processes() == {} and made.servers() == []
    assert "nothing was deployed" in made("deploy", "action=stop")


class Traffic:
    """Two clients, one with a connection that is kept and one with new ones, that ask 50 times a second together."""

    def __init__(self, port: int, body: bytes = BODY, *, reloads: bool = False) -> None:
        self.port, self.body, self.on = port, body, True
        self.closed = (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected) if reloads else ()
        self.answers: list[tuple[float, str, bytes]] = []  # when it was asked, by which version it was answered, what
        self.failed: list[str] = []
        self.threads = [threading.Thread(target=self.ask, args=(kept,)) for kept in (True, False)]

    def ask(self, kept: bool) -> None:
        connection = None
        while self.on:
            began = time.monotonic()
            try:
                if connection is None or not kept:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("POST", "/invocations", self.body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                what = answer.read()
                if answer.status == 200:
                    self.answers.append((began, answer.headers["X-Model-Version"], what))
                else:
                    self.failed.append(f"{answer.status} {what[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                connection = None
                if kept and isinstance(error, self.closed):
                    continue  # nginx that is reloaded closes connections that are kept: any client asks anew
                self.failed.append(repr(error))
            time.sleep(max(0.0, began + 0.04 - time.monotonic()))

    def __enter__(self) -> "Traffic":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.on = False
        for thread in self.threads:
            thread.join()
        assert not self.failed, Counter(self.failed)
        assert len({(version, what) for _, version, what in self.answers}) == len(self.versions), "a mixture"

    @property
    def versions(self) -> set[str]:
        return {version for _, version, _ in self.answers}

    @property
    def turns(self) -> list[str]:
        """The versions in the order in which they answered, each turn once."""
        order = [version for _, version, _ in sorted(self.answers)]
        return [version for at, version in enumerate(order) if at == 0 or order[at - 1] != version]


def test_no_request_is_lost_while_versions_change(deployed):
    told = deployed("deploy", "deploy.env_manager=uv")
    assert f"{MODEL} version 1 answers at http://127.0.0.1:{deployed.port} (local)" in told.splitlines()
    with Traffic(deployed.port) as traffic:
        told = deployed("deploy", "deploy.env_manager=uv")
        assert f"version 1 answers at http://127.0.0.1:{deployed.port} (local) as before, nothing was done" in told
        words = ["deploy=local", "version=2", "approver=ana", "deploy.on_promote=true", "deploy.env_manager=local"]
        told = deployed.project.python("promote", *words).printed  # the port is that of the deployment
        assert f"{MODEL} version 2 is champion, approved by ana; version 1 is previous" in told.splitlines()
        assert (
            f"{MODEL} version 2 answers at http://127.0.0.1:{deployed.port} (local), in place of {MODEL} version 1"
            in told
        )
        [home] = deployed.processes()
        [supervisor] = [each for each in deployed.processes()[home] if "uvicorn" in each.cmdline()]
        told = deployed("rollback", "deploy.on_promote=true", "deploy.workers=2")
        assert not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE
        asked = len(traffic.answers)
        for worker in psutil.Process(_leader(deployed)).children():
            if "spawn_main" in " ".join(worker.cmdline()):
                worker.kill()  # one of two: what it was asked is asked again of the other
                break
        for _ in range(600):  # the other may be about to start
            if len(traffic.answers) > asked + 10:
                break
            time.sleep(0.1)
        assert len(traffic.answers) > asked + 10
    assert traffic.turns == ["1", "2", "1"]
    assert re.fullmatch(r"since .* by ana, at http://\S+ of .*, until .* UTC", deployed.tags(2)["deployed.local"])
    assert deployed.tags(1)["deployed.local"].startswith("since ") and len(deployed.servers()) == 1
    health = json.load(urllib.request.urlopen(f"http://127.0.0.1:{deployed.port}/health"))
    assert (health["model"], health["version"]) == (MODEL, "1")
    done = deployed.project.python("deploy", "action=status", MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert done.code == 0 and done.lines[0] == f"local at http://127.0.0.1:{deployed.port}", done.printed
    assert re.search(rf"main: {MODEL} version 1, since .* by \S+; answers$", done.printed.strip())


def _leader(deployed: Deployed) -> int:
    """The process of the one server that runs which starts the others."""
    [processes] = deployed.processes().values()
    return next(each.pid for each in processes if os.getpgid(each.pid) == each.pid)


class Heard(socketserver.StreamRequestHandler):
    """What a challenger would be asked."""

    def handle(self) -> None:
        length, headers = 0, {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        length = int(headers.get("content-length", 0))
        self.server.heard.append((headers, self.rfile.read(length)))
        time.sleep(0.5)  # nobody waits for it
        self.wfile.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


def test_a_challenger_gets_its_share_or_copies(deployed):
    share = ["deploy.challenger=2", "deploy.challenger_share=0.1", "deploy.sticky=X-Customer-ID"]
    told = deployed("deploy", *share)
    assert "  version 2 answers 10.0% of them, drawn by X-Customer-ID" in told.splitlines(), told
    first = {str(customer): deployed.post(str(customer))[0] for customer in range(600)}
    drawn = Counter(first.values())
    assert 600 * 0.1 - 3 * 7.4 < drawn["2"] < 600 * 0.1 + 3 * 7.4, drawn  # three standard deviations
    again = {customer: deployed.post(customer)[0] for customer in list(first)[:200]}
    assert again == {customer: first[customer] for customer in again}
    lucky = next(customer for customer, version in first.items() if version == "2")
    challenger = os.readlink(deployed.folder / "challenger")
    for process in deployed.processes()[challenger]:
        process.kill()
    assert deployed.post(lucky)[0] == "1", "a challenger that is gone costs no answer"

    with Traffic(deployed.port, reloads=True):
        told = deployed("deploy", "deploy.challenger=2", "deploy.mirror=true")
    assert "  version 2 is asked too, and its answers go to nobody" in told.splitlines()
    link, ear = deployed.folder / "challenger", deployed.folder / "ear"
    ear.mkdir()
    there = os.getcwd()
    os.chdir(ear)  # the name of a socket is short
    server = socketserver.ThreadingUnixStreamServer("socket", Heard)
    os.chdir(there)
    server.heard = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (deployed.folder / "turned").symlink_to("ear")
    kept = os.readlink(link)
    os.replace(deployed.folder / "turned", link)
    began = time.monotonic()
    assert [deployed.post(str(at))[0] for at in range(5)] == ["1"] * 5
    assert time.monotonic() - began < 2
    time.sleep(1)
    server.shutdown()
    assert [body for _, body in server.heard] == [BODY] * 5
    assert {headers["x-shadow"] for headers, _ in server.heard} == {"true"}
    link.unlink()
    link.symlink_to(kept)
    shutil.rmtree(ear)


ENDED = """
import subprocess, sys, time
from penguin_classifier.machinery.jobs.deploy import servers
begins = "import subprocess, time; each = subprocess.Popen(['true']); print('begun', flush=True); time.sleep(60)"
server = subprocess.Popen([sys.executable, "-c", begins, "uvicorn"], stdout=subprocess.PIPE)
server.stdout.readline()
time.sleep(1)
found = [servers._has_ended(server, workers=count) for count in (1, 2)]
server.kill()
server.wait()
print(*found, servers._has_ended(server, workers=1))
"""


def test_a_server_has_ended_with_a_worker_but_not_with_what_its_model_begins(deployed):
    """A process that a library began and that has ended is no worker, though its parent has not taken note yet."""
    assert deployed.project.ask(ENDED) == "False True True"


WRONG = f"""
import json, pathlib, mlflow
for name, change in (("broken", lambda folder: (folder / "model.skops").write_bytes(b"no model")), ("other", None)):
    folder = pathlib.Path(mlflow.artifacts.download_artifacts("models:/{MODEL}/2", dst_path="wrong/" + name))
    if change:
        change(folder)
    else:
        kept = json.loads((folder / "reference.json").read_text())
        kept["examples"]["answers"][0]["probability"] += 0.001
        (folder / "reference.json").write_text(json.dumps(kept))
    version = client.create_model_version("{MODEL}", str(folder.absolute()))
"""
REFUSED = [
    (
        ["deploy.alias=4"],
        1,
        f"{MODEL} version 4: the server answers the recorded examples otherwise",
    ),
    (["deploy.alias=99"], 1, f"deploy.alias=99 of {MODEL} is not there: it has 1, 2"),
    (["deploy.port=PORT"], 1, r"nginx does not (start|take its new configuration): .* in use.*; deploy.port="),
    (["deploy.challenger_share=1.5"], 2, "deploy.challenger_share=1.5: it is a share of the requests"),
    (["deploy.sticky=X Y; return 200"], 2, "deploy.sticky=X Y; return 200: it is a header's name"),
    (["deploy.host=127.0.0.1; user root"], 2, "deploy.host="),
    (["deploy.env_manager=pixi"], 2, "deploy.env_manager=pixi: it is one of local, uv"),
    (["action=begin"], 2, "action=begin: there is no such action"),
]


def test_what_does_not_answer_rightly_is_never_switched_to(deployed):
    deployed.project.ask(WRONG)
    deployed("deploy")
    before, link = deployed.servers(), os.readlink(deployed.folder / "main")
    with Traffic(deployed.port) as traffic, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, code, sentence in REFUSED:
            told = deployed("deploy", *(word.replace("PORT", port) for word in words), code=code)
            assert re.search(sentence, told) and "Traceback" not in told, told
            assert os.readlink(deployed.folder / "main") == link and deployed.servers() == before, words
        told = deployed("promote", "version=3", "approver=ana", "reason=x", "deploy.on_promote=true", code=1)
        assert re.search(rf"{MODEL} version 3: the server does not start: it ends; its log says: \S+", told), told
    assert traffic.turns == ["1"] and set(deployed.processes()) == {link}
    done = deployed.project.python(*deployed.words("deploy"), PATH=str(deployed.project.path / "nowhere"))
    if not any(Path(place, "nginx").exists() for place in ("/usr/sbin", "/usr/local/sbin")):
        assert done.code == 1 and "nginx is not installed: `apt install nginx-light`" in done.printed


def test_two_at_once_and_one_that_is_killed(deployed):
    pid = deployed.project.start(*deployed.words("deploy", "deploy.alias=2"))
    before = set(deployed.servers())
    while not any((home / "socket").exists() for home in set(deployed.servers()) - before):
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert deployed.project.end(pid).code == -signal.SIGKILL
    assert len(deployed.processes()) == 2, "a server that nobody switched to is left"
    assert deployed.post()[0] == "1"

    def run(alias: str) -> None:
        words = deployed.words("deploy", f"deploy.alias={alias}")
        done.append((alias, deployed.project.run("python", "-m", deployed.project.package, *words)))

    done: list = []
    threads = [threading.Thread(target=run, args=(alias,)) for alias in "12"]
    with Traffic(deployed.port):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [each.code for _, each in done] == [0, 0], [each.printed for _, each in done]
    assert deployed.post()[0] == done[-1][0] and len(deployed.servers()) == 1
    assert set(deployed.processes()) == {os.readlink(deployed.folder / "main")}
    told = deployed("deploy", "action=status")
    assert ("the champion is version 1: `-e deploy`" in told) == (done[-1][0] == "2"), told
    for process in deployed.processes()[deployed.servers()[0].name]:
        process.kill()
    told = deployed("deploy", "action=status", code=3)
    assert "; does not answer\n  `-e deploy` with deploy=local starts what does not run\n" in told, told


def test_a_version_is_copied_to_another_server_and_judged_there(environment, tmp_path):
    """Two servers: what is made on one becomes champion on the other by the gates and the rows there, and answers."""
    project = Project(bake(tmp_path / "made", deploy="all"), environment)
    config = project.path / "conf/config.yaml"
    words = ["mlflow", "server", "--workers", "1", "--port", "{port}", "--backend-store-uri"]
    places = [[f"sqlite:///{tmp_path / name}.db", "--artifacts-destination", str(tmp_path / name)] for name in "ab"]
    with (
        served(project, *words, *places[0], path="/health") as here,
        served(project, *words, *places[1], path="/health") as there,
    ):
        config.write_text(config.read_text().replace("registry: null # the", f"registry: {there} # the"))
        known = {"MLFLOW_TRACKING_URI": here}
        done = project.python(*LINE, "model=logistic", **known)
        assert done.code == 0, done.printed
        copy = ["promote", "to=production", "approver=ana", "version=1", 'reason=it\'s "time": {now}', *QUICK]
        done = project.python(*copy, "gate.min_scores.roc_auc=0.99999", **known)
        assert done.code == 0 and "LogisticRegression as it is, copied" in done.printed, done.printed
        assert f"{MODEL} version 1 is {MODEL}-production version 1 of {there}: challenger" in done.lines
        assert "is below 0.99999" in done.lines[-2], done.printed
        done = project.python(*copy, **known)
        assert f"{MODEL} version 1 is {MODEL}-production version 1 of {there}: champion" in done.lines, done.printed
        done = project.python(*copy, "seed=7", **known)
        assert done.code == 1 and "trained by another split, seed 42 and not 7" in done.printed, done.printed
        done = project.python("promote", "to=nowhere", "approver=ana", "version=1", **known)
        assert done.code == 2 and "to=nowhere: environments has no such key" in done.printed
        code = f"""
import json, pathlib, {project.package}.machinery.mlflow.aliases as aliases
from {project.package}.machinery.mlflow.model_format import fingerprint_of_files as mark
download = lambda uri, to: mark(pathlib.Path(mlflow.artifacts.download_artifacts(uri, dst_path=to)))
where = {{"{here}": "{MODEL}", "{there}": "{MODEL}-production"}}
marks, tags = [], []
for address, name in where.items():
    mlflow.set_tracking_uri(address), mlflow.set_registry_uri(address)
    marks.append(download(f"models:/{{name}}/1", "copies/" + name))
    tags.append(mlflow.MlflowClient().get_model_version(name, "1").tags)
print(json.dumps([marks, tags, [each.why for each in aliases.history("{MODEL}-production")]]))"""
        marks, [source, copied], history = json.loads(project.ask(code).splitlines()[-1])
        assert marks[0] == marks[1] == source["files"] == copied["files"], "not byte for byte"
        origin = f'models:/{MODEL}/1 of {here}, by ana: it\'s "time": {{now}}'
        assert copied["copied_from"] == origin and copied["gate"] == "passed" and copied["trained"] == source["trained"]
        assert f"it passed the gate, a copy of {origin}" in history
        assert source["copied_to.production"].startswith(f"{MODEL}-production version 1 of {there}, by ana: ")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            where = ["deploy=production", f"deploy.port={free.getsockname()[1]}", "deploy.env_manager=local"]
        done = project.python("deploy", *where, **known)
        assert done.code == 0 and f"{MODEL}-production version 1 answers at http://127.0.0.1:" in done.printed
        assert project.python("deploy", *where, "action=stop", **known).code == 0
