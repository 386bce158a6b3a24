"""That nothing is computed twice, that nothing is skipped, that a run can be made again, and that no crash does harm:
each by causing it."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Project, bake, served, settings
from test_projects import NAME, STAGES, last_run, records

pytestmark = pytest.mark.slow

SMALL = ["model=forest", "model.n_estimators=10", "evaluation.importance_repeats=0", "tracking.sample_rows=0"]
SMALL += ["evaluation.resamples=20", "evaluation.slices=[]"]


def ran(printed: str) -> list[str]:
    """The stages that a line ran, and did not reuse."""
    return re.findall(r"^(\w+) .*\(\d+\.\d s, .*\)$", printed, re.MULTILINE)


def results(outputs: Path) -> dict:
    """What stages gave: tables and predictions by their digests, and scores."""
    made = records(outputs)
    tables = {stage: made[stage]["files"]["table.parquet"] for stage in ("ingest", "split")}
    scores = {stage: made[stage]["outcome"]["scores"] for stage in ("validate", "evaluate")}
    return {**tables, **scores, "train": made["train"]["outcome"]["facts"]["digest"]}


def edit(project: Project, file: str, old: str, new: str) -> None:
    path = project.path / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


# --- Reuse


@pytest.fixture(scope="module")
def done(environment, tmp_path_factory) -> Project:
    """A project in which the line has been run."""
    project = Project(bake(tmp_path_factory.mktemp("done")), environment)
    first = project.python(*SMALL)
    assert first.code == 0 and ran(first.printed) == STAGES, first.printed
    return project


@pytest.fixture
def copied(done, tmp_path) -> Project:
    """A copy of that project, store and outputs included, to edit."""
    project = Project(tmp_path / done.path.name, done.environment)
    shutil.copytree(done.path, project.path, symlinks=True)
    return project


SCORING = "machinery/evaluation/scoring.py"
EDITS = [
    ("stages/evaluate.py", '"""Candidate, champion', '"""The candidate, champion', []),  # a docstring
    (SCORING, "import difflib\n", "import   difflib  # for close matches\n", []),  # style
    ("stages/register.py", '"gates": pl', '"verdicts": pl', ["register"]),
    (
        "machinery/report/sentences.py",
        'on {result.rows:,} test rows"',
        'on {result.rows:,} rows"',
        ["evaluate", "register"],
    ),
    (SCORING, "cutoff=0.4", "cutoff=0.5", ["train", "evaluate", "register"]),
    ("machinery/report/report.html", "to reproduce</h2>", "to make it again</h2>", ["evaluate", "register"]),
    ("machinery/report/page.html", "<!doctype html>", "<!doctype html>\n<!-- ours -->", ["evaluate", "register"]),
    ("machinery/data/sources.py", "[:500]", "[:400]", STAGES),
]


@pytest.mark.parametrize("file, old, new, expected", EDITS)
def test_only_what_can_reach_an_edited_line_runs_again(copied, file, old, new, expected):
    edit(copied, f"{copied.package}/{file}", old, new)
    told = copied.python("explain", *SMALL)
    assert re.findall(r"^(\w+) +would run: ", told.printed, re.MULTILINE) == expected, told.printed
    again = copied.python(*SMALL)
    if "Verdict" not in new:  # which the end of a run asks for
        assert again.code == 0, again.printed
    assert ran(again.printed) == expected, again.printed
    if expected:
        name = "pages.py changed" if file.endswith(".html") else f"{file} changed"
        assert name in told.printed, told.printed
    else:
        assert again.printed.startswith("register is up to date: "), again.printed


def test_another_version_of_a_library_runs_all_again(copied):
    pins = (copied.path / "requirements.txt").read_text()
    (copied.path / "requirements.txt").write_text(re.sub(r"(?m)^polars==\S+", "polars==0.0.1", pins))
    told = copied.python("explain", *SMALL)
    assert re.findall(r"^(\w+) +would run: ", told.printed, re.MULTILINE) == STAGES
    assert re.search(r"^ingest +would run: polars changed \d\S+ -> 0.0.1$", told.printed, re.MULTILINE), told.printed


def test_a_table_that_changed_is_never_taken_for_what_it_was(copied):
    table = copied.path / "data/raw/penguins.csv"
    text, state = table.read_text(), table.stat()
    assert "39.1" in text
    table.write_text(text.replace("39.1", "39.2", 1))
    os.utime(table, ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time
    again = copied.python("split", *SMALL)
    assert ran(again.printed) == ["ingest", "validate", "split"] and "contents of the source changed" in again.printed


def test_only_the_gate_and_only_what_it_needs(copied):
    again = copied.python(*SMALL, "gate.min_scores.balanced_accuracy=0.8")
    assert ran(again.printed) == ["register"], again.printed
    assert "gate.min_scores.balanced_accuracy changed 0.75 -> 0.8)" in again.printed


def test_a_new_champion_means_a_new_comparison_and_none_means_none(copied):
    other = copied.python(*SMALL, "model.n_estimators=300", "registered_model=other")
    assert ran(other.printed) == ["train", "evaluate", "register"], other.printed
    version = f"client.get_model_version('{NAME}-penguins', '1')"
    copied.ask(
        f"version = {version}; made = client.create_model_version(version.name, version.source, version.run_id)\n"
        "client.set_model_version_tag(made.name, made.version, 'digest', 'another')\n"
        "client.set_model_version_tag(made.name, made.version, 'trained', version.tags['trained'])\n"
        "client.set_registered_model_alias(made.name, 'champion', made.version)"
    )
    again = copied.python(*SMALL)
    assert ran(again.printed) == ["evaluate", "register"], again.printed
    assert "champion changed none -> version 2 (another)" in again.printed
    assert copied.python(*SMALL).printed.startswith("register is up to date: ")


def test_where_nothing_changed_nothing_is_imported(copied):
    heavy = {"mlflow", "sklearn", "great_expectations", "matplotlib", "polars", "pandas", "numpy"}

    def words() -> tuple[str, set[str]]:
        """What the command says, and which of the heavy libraries it imports."""
        told = copied.run("python", "-X", "importtime", "-m", copied.package, *SMALL)
        names = {line.rpartition("|")[2].strip() for line in told.lines if line.startswith("import time:")}
        [said] = [line for line in told.lines if not line.startswith("import time:")]
        return said, names & heavy

    runs = "print(len(client.search_runs(['0'])))"
    words()  # the copy's files have other times, and its store is another file
    before = copied.ask(runs)
    said, names = words()
    assert said.startswith("register is up to date: ") and names == set()
    with sqlite3.connect(copied.path / "mlflow.db") as store:  # somebody wrote to it: MLflow is asked, and only that
        store.execute("CREATE TABLE touched (x)")
    said, names = words()
    assert said.startswith("register is up to date: ")
    assert "mlflow" in names and not names & {"sklearn", "great_expectations", "matplotlib"}
    assert copied.ask(runs) == before
    assert words()[1] == set()


def test_under_mlflow_run_the_run_says_that_nothing_had_to_be_done(copied):
    words = [part for word in SMALL for part in ("-P", word)]
    again = copied.mlflow(*words)
    assert again.code == 0 and "register is up to date: " in again.printed, again.printed
    run = last_run(copied, "register")
    assert run["info"]["status"] == "FINISHED" and run["data"]["tags"]["reused.train"]
    told = copied.mlflow("-e", "explain", *words, "-P", "model.max_depth=3")
    assert told.code == 0 and "train     would run: model.max_depth is new (3)" in told.lines, told.printed


# --- Reproduction


def test_a_run_is_made_again_from_its_id_to_the_last_bit(copied):
    edit(copied, "conf/model/forest.yaml", "n_estimators", "max_depth: 4\nn_estimators")  # in no commit
    (copied.path / "conf/experiment/mine.yaml").write_text("# @package _global_\nseed: 11\n")  # nor this
    made = copied.python(*SMALL, "experiment=mine", "registered_model=mine")
    assert made.code == 0, made.printed
    run = last_run(copied, "register")
    tags = run["data"]["tags"]
    assert tags["git.dirty"] == "true" and len(tags["lock"]) == 64 and tags["machine.cpu"] and tags["data.digest"]
    shutil.rmtree(copied.path / "outputs")
    (copied.path / "conf/experiment/mine.yaml").unlink()  # as if work had gone on
    assert copied.run("git", "checkout", "--", ".").code == 0
    again = copied.mlflow("-e", "reproduce", "-P", "run_id=models:/mine@champion")
    assert again.code == 0 and f"run {run['info']['run_id'][:8]} at commit " in again.printed, again.printed
    assert "identical to the bit" in again.printed and "train     identical predictions" in again.lines, again.printed
    assert copied.run("git", "worktree", "list").printed.count("\n") == 1

    edit(copied, "data/raw/penguins.csv", "39.1", "39.2")
    commit = ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qam", "corrected"]
    assert copied.run("git", *commit).code == 0  # then as it was is still in the repository
    table = copied.path.parent / "elsewhere.csv"
    table.write_text((copied.path / "data/raw/penguins.csv").read_text())
    made = copied.python(*SMALL, f"source.source={table}", "registered_model=elsewhere")
    assert made.code == 0, made.printed
    table.write_text(table.read_text().replace("39.2", "39.3", 1))
    again = copied.python("reproduce", "run_id=1", "registered_model=elsewhere")
    assert again.code == 1 and f"{table}) has changed since that run" in again.printed, again.printed


def test_what_cannot_be_identical_is_held_to_its_tolerance(copied):
    (copied.path / copied.package / "drifting.py").write_text(
        '"""A model that time has a part in."""\n\nimport time\n\n'
        "from sklearn.linear_model import LogisticRegression\n\n\n"
        "def drifting() -> LogisticRegression:\n"
        '    """A logistic regression, never quite the same."""\n'
        "    return LogisticRegression(C=1 + time.time() % 1 / 100)\n"
    )
    target = f"_target_: {copied.package}.drifting.drifting\n"
    (copied.path / "conf/model/drifting.yaml").write_text(f"{target}_tolerance_: 0.05\n")
    made = copied.python("train", "model=drifting")
    assert made.code == 0, made.printed
    run_id = last_run(copied, "train")["info"]["run_id"]
    again = copied.python("reproduce", f"run_id={run_id}")
    assert again.code == 0 and re.search(r"apart by up to \S+, 0.05 allowed", again.printed), again.printed
    again = copied.python("reproduce", f"run_id={run_id}", "tolerance=0")
    assert again.code == 1 and "is not reproduced: apart by up to" in again.printed, again.printed
    assert last_run(copied, "reproduce")["info"]["status"] == "FAILED"


# --- Faults


def test_a_kill_at_any_moment_does_no_harm(fresh):
    calm = {"MLFLOW_TRACKING_URI": f"sqlite:///{fresh.path}/calm.db"}
    undisturbed = fresh.python(*SMALL, "platform.outputs=outputs/calm", **calm)
    assert undisturbed.code == 0, undisturbed.printed
    expected, hit = results(fresh.path / "outputs/calm"), []
    for number in range(30):
        turn, stage = divmod(number, len(STAGES))
        outputs = fresh.path / f"outputs/{turn}"
        where = {"MLFLOW_TRACKING_URI": f"sqlite:///{fresh.path}/{turn}.db"}
        words = [*SMALL, f"platform.outputs={outputs}"]
        process = fresh.start(*words, **where)
        wanted, until = STAGES[stage], time.monotonic() + 60
        while not list(outputs.glob(f"{wanted}/*")) and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(random.Random(number).uniform(0, 0.03 if wanted in ("split", "register") else 0.15))
        os.kill(process, signal.SIGKILL)
        if fresh.end(process).code == -signal.SIGKILL:
            hit.append(wanted)
        if wanted == STAGES[-1] or number == 29:
            last = fresh.python(*words, **where)
            assert last.code == 0 and f"{NAME}-penguins version 1" in last.printed, last.printed
            assert results(outputs) == expected
            code = "print({run.info.status for run in client.search_runs(['0'])} - {'FINISHED', 'KILLED'})"
            told = fresh.fork("-c", f"import mlflow; client = mlflow.MlflowClient(); {code}", **where)
            assert told.lines == ["set()"]
    assert set(hit) == set(STAGES) and len(hit) > 24, hit


def test_ten_at_once_on_a_store_that_does_not_exist_yet(fresh):
    words = [[*SMALL, f"seed={seed}"] for seed in (1, 1, 1, 1, 1, 1, 2, 3, 4, 5)]
    ended = fresh.together(*words)
    for each in ended:
        assert each.code == 0 and "locked" not in each.printed and "Traceback" not in each.printed, each.printed
    [seed_one] = {results_of(each.printed) for each in ended[:6]}
    assert seed_one
    made = [path for path in (fresh.path / "outputs").glob("train/*") if path.is_dir()]
    assert len(made) == 5 and not [path for path in made if path.name.startswith(".")], made
    trained = "print(len(client.search_runs(['0'], \"tags.stage = 'train' and attributes.status = 'FINISHED'\")))"
    assert fresh.ask(trained) == "5"
    assert fresh.python(*SMALL, "seed=1").code == 0


def results_of(printed: str) -> str:
    """The scores that a run printed, or those of the run that it says has done the same."""
    return "".join(re.findall(r"^train +(\S.*?) \(", printed, re.MULTILINE))


def test_a_read_only_folder_serves_what_is_in_it(copied):
    outputs = copied.path / "outputs"
    mount = ["mount", "--bind", "-o", "ro", str(outputs), str(outputs)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(outputs)], check=True, capture_output=True)
        again = copied.python(*SMALL)
        assert again.code == 0 and again.printed.startswith("register is up to date: "), again.printed
        refused = copied.python(*SMALL, "seed=5")
        assert refused.code == 1 and "cannot be written (Read-only file system): free it, or name" in refused.printed
    finally:
        subprocess.run(["umount", str(outputs)], check=True)
    assert last_run(copied, "register")["info"]["status"] == "FAILED"
    assert copied.python(*SMALL, "seed=5").code == 0


def test_a_server_that_dies_and_comes_back(fresh, tmp_path):
    store = f"sqlite:///{tmp_path / 'server.db'}"
    words = ["mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    server = served(fresh, *words, "--workers", "1", "--port", "{port}")
    known = {"MLFLOW_TRACKING_URI": server.address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with server:
        process = fresh.start(*SMALL, **known)
        wait_for(fresh.path / "outputs/train")
    began = time.monotonic()
    broken = fresh.end(process)
    assert broken.code == 75 and "does not answer" in broken.lines[-1] and "goes on from there" in broken.lines[-1]
    assert "Traceback" not in broken.printed and time.monotonic() - began < 30, broken.printed
    with server:
        again = fresh.python(*SMALL, **known)
        assert again.code == 0 and "is champion" in again.printed, again.printed
        assert ran(again.printed)[0] in ("train", "evaluate"), again.printed
        code = "print(sorted({run.info.status for run in client.search_runs(['1'])}))"
        told = fresh.fork("-c", f"import mlflow; client = mlflow.MlflowClient(); {code}", **known)
        assert told.lines[-1] == "['FINISHED', 'KILLED']", told.printed


def test_artifacts_that_are_refused(fresh):
    fresh.ask("client.search_experiments()")
    (fresh.path / "mlruns").write_text("no folder")
    broken = fresh.python("split", *SMALL)
    assert broken.code == 1 and "Traceback" not in broken.printed, broken.printed
    assert "mlruns" in broken.lines[-1] and "cannot be used" in broken.lines[-1], broken.printed
    run = last_run(fresh, "split")
    assert run["info"]["status"] == "FAILED" and "mlruns" in run["data"]["tags"]["cause"]
    (fresh.path / "mlruns").unlink()
    assert fresh.python("split", *SMALL).code == 0


def test_an_interrupt_ends_at_once_and_is_told(fresh):
    process = fresh.start(*SMALL, "model.n_estimators=3000")
    wait_for(fresh.path / "outputs/train")
    time.sleep(1)  # now it fits
    began = time.monotonic()
    os.kill(process, signal.SIGINT)
    ended = fresh.end(process)
    assert ended.code == 130 and "interrupted" in ended.lines[-1] and time.monotonic() - began < 5, ended.printed
    code = "print([run.info.status for run in client.search_runs(['0'], \"tags.cause = 'interrupted'\")])"
    assert fresh.ask(code) == "['KILLED', 'KILLED']"
    assert not list((fresh.path / "outputs/train").iterdir())

    words = [part for word in ["model=forest", "model.n_estimators=3000", "seed=9"] for part in ("-P", word)]
    known = settings()
    known["PATH"] = f"{fresh.environment / 'bin'}{os.pathsep}{known['PATH']}"
    command = ["mlflow", "run", ".", "--env-manager", "local", *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    outer = subprocess.Popen(command, cwd=fresh.path, env=known, **quiet)
    until = time.monotonic() + 90
    while not list((fresh.path / "outputs/train").glob(".*")) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(1)
    [child] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)  # as MLflow passes Ctrl-C on
    assert outer.wait(30) != 0
    until = time.monotonic() + 20
    while fresh.ask(code).count("KILLED") < 3 and time.monotonic() < until:
        time.sleep(0.2)
    run = last_run(fresh, "register")
    assert run["info"]["status"] in ("FAILED", "KILLED") and run["data"]["tags"]["cause"] == "interrupted"


def wait_for(folder: Path) -> None:
    until = time.monotonic() + 60
    while not folder.exists():
        assert time.monotonic() < until, f"{folder} does not come"
        time.sleep(0.005)


# --- Secrets


def test_secrets_stay_where_they_are(fresh):
    kinds = "PASSWORD PASSWD PWD SECRET TOKEN API_KEY APIKEY ACCESS_KEY SECRET_KEY PRIVATE_KEY ACCOUNT_KEY CREDENTIAL"
    names = [f"{prefix}_{kind}" for prefix in ("DB", "AWS_SECRET", "MY_SERVICE") for kind in kinds.split()]
    secrets = {name: f"{number}{name.lower()}-pl4nted" for number, name in enumerate(names)}
    address = {"WAREHOUSE": "postgresql://bob:p%40ss-pl4nted@127.0.0.1:9/shop"}
    everything = " ".join([*secrets.values(), *address.values()])
    assert len(secrets) >= 30
    leak = "    import os\n\n    if 'LEAK' in os.environ:\n        raise ValueError(os.environ['LEAK'])\n    shares = "
    edit(fresh, f"{fresh.package}/stages/split.py", "    shares = ", leak)
    refer = [f"tags.owner=${{oc.env:{name}}}" for name in list(secrets)[:1]]
    refer += ["tags.domain=${oc.env:WAREHOUSE}", "description=of ${oc.env:DB_TOKEN}"]
    printed = []
    for words, more in (
        ([*SMALL, *refer], {}),
        (["split", "seed=5", *refer], {"LEAK": everything}),  # an error that says them all
        (
            [
                "data=penguins",
                "source={_target_: polars.read_database_uri, query: SELECT 1, uri: '${oc.env:WAREHOUSE}'}",
            ],
            {},
        ),
        (["source.source=${oc.env:WAREHOUSE}"], {}),
        (["source.token=" + "literal-pl4nted"], {}),
        (["seed=${oc.env:DB_PASSWORD}"], {}),
        (["explain", *SMALL, *refer], {}),
    ):
        told = fresh.python(*words, **secrets, **address, **more)
        printed.append(told.printed)
    assert "is champion" in printed[0] and "ValueError: ${oc.env:" in printed[1], printed
    assert all(each.startswith("penguin_classifier: ") for each in printed[2:6]), printed
    leaks = [each for each in printed if "pl4nted" in each]
    assert not leaks, leaks
    for path in fresh.path.rglob("*"):
        if path.is_file() and ".git/" not in str(path):
            assert b"pl4nted" not in path.read_bytes(), path
    tags = last_run(fresh, "split")["data"]["tags"]
    assert tags["owner"] == "${oc.env:DB_PASSWORD}" and tags["domain"] == "${oc.env:WAREHOUSE}"
