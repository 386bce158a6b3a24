"""deploy/slurm.sbatch by a real SLURM of one node, which runs here as three processes would on a cluster."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Project, bake

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
WORDS = ["model=logistic", "evaluation.resamples=20", "evaluation.importance_repeats=0"]
# A job that is queued again waits until its old credential is gone: here seconds, elsewhere two minutes.
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={0}
SlurmdPort={1}
StateSaveLocation={base}
SlurmdSpoolDir={base}/spool
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/linear
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4096 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with deploy/slurm.sbatch, whose commands find a cluster."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=path)]:
        pytest.skip(f"no {', '.join(missing)} is installed (apt install slurm-wlm)")
    base, user = tmp_path_factory.mktemp("slurm"), os.environ.get("USER", "root")
    (base / "spool").mkdir()
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, other)]
    conf = CONF.format(*ports, host=socket.gethostname().partition(".")[0], base=base, user=user)
    (base / "slurm.conf").write_text(conf)
    known = {**os.environ, "PATH": path, "SLURM_CONF": f"{base}/slurm.conf"}
    with (base / "printed").open("w") as log:
        daemons = [
            subprocess.Popen([name, "-D"], env=known, stdout=log, stderr=log, start_new_session=True)
            for name in ("slurmctld", "slurmd")
        ]
        try:
            for _ in range(60):
                state = subprocess.run(["sinfo", "-h", "-o", "%T"], env=known, capture_output=True, text=True).stdout
                if state.strip() == "idle":
                    break
                time.sleep(0.5)
            else:
                pytest.skip(f"SLURM does not run here: {(base / 'printed').read_text()[-500:]}")
            project = Project(bake(base / "generated", deploy="slurm"), environment)
            project.known = {"SLURM_CONF": f"{base}/slurm.conf", "PYTHON": str(environment / "bin/python")}
            yield project
            project.run("scancel", "--full", "--user", user, **project.known)
            time.sleep(1)
        finally:
            for each in reversed(daemons):
                each.terminate()
                each.wait()


def submitted(slurm: Project, *words: str, **more: str) -> str:
    """The number of a job."""
    done = slurm.run("sbatch", "--parsable", "deploy/slurm.sbatch", *words, **slurm.known, **more)
    assert done.code == 0, done.printed
    return done.lines[-1]


def awaited(slurm: Project, job: str, pattern: str) -> str:
    """What SLURM says of a job, once `pattern` is in that or in what the job has printed; and what it has printed."""
    for _ in range(300):
        text = slurm.run("scontrol", "show", "job", job, **slurm.known).printed
        log = slurm.path / f"slurm-{job}.log"
        text += log.read_text() if log.exists() else ""
        if re.search(pattern, text):
            return text
        time.sleep(0.2)
    raise AssertionError(text)


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(slurm: Project):
    job = submitted(slurm, "register", *WORDS)
    awaited(slurm, job, "(?m)^validate .*first run")
    slurm.run("scancel", "--batch", "--signal=USR1", job, **slurm.known)  # what --signal has SLURM send
    said = awaited(slurm, job, "JobState=(COMPLETED|FAILED|CANCELLED)|Restarts=2")
    assert "JobState=COMPLETED" in said and "Restarts=1 " in said and "ExitCode=0:0" in said, said
    assert "penguin_classifier: interrupted" in said and "penguins version 1 is champion" in said, said
    assert re.search(r"(?m)^ingest .*reused", said) and re.search(r"(?m)^train .*first run", said), said


@pytest.mark.slow
def test_75_is_tried_again_what_is_cancelled_or_wrong_is_not(slurm: Project):
    away = submitted(slurm, "register", "platform=server", MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    said = awaited(slurm, away, "Restarts=1 ")
    assert "the tracking server http://127.0.0.1:1 does not answer" in said, said
    slurm.run("scancel", away, **slurm.known)
    wrong = submitted(slurm, "register", "modle=forest")
    said = awaited(slurm, wrong, "JobState=(COMPLETED|FAILED|CANCELLED)|Restarts=1")
    assert "JobState=FAILED" in said and "Restarts=0 " in said and "ExitCode=2:0" in said, said
    assert "did you mean model?" in said, said
    gone = submitted(slurm, "register", *WORDS, "seed=7")
    awaited(slurm, gone, "(?m)^ingest ")
    slurm.run("scancel", "--full", gone, **slurm.known)
    said = awaited(slurm, gone, "JobState=(COMPLETED|FAILED|CANCELLED)|Restarts=1")
    assert "JobState=CANCELLED" in said and "Restarts=0 " in said, said
    del slurm.known["PYTHON"]
    bare = submitted(slurm)
    said = awaited(slurm, bare, "JobState=(COMPLETED|FAILED|CANCELLED)")
    assert "/.venv/bin/python is not there: uv sync, or PYTHON=... sbatch ..." in said and "ExitCode=2:0" in said, said
