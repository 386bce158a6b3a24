"""A Spark cluster of processes on this machine, out of what pip's pyspark brings: a standalone master, two workers of
one core and 2 GB each, and Spark Connect before them."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 300  # that a Java machine may take to answer


@dataclass
class SparkCluster:
    """Its `master` takes one application at a time: the two cores of the workers are that application's."""

    home: Path  # pyspark's folder
    folder: Path  # where the processes write: logs, and in `scratch` what tasks keep for a while
    settings: dict[str, str]  # environment variables for what starts applications
    master: str = ""  # spark://127.0.0.1:7077
    running: dict[str, subprocess.Popen] = field(default_factory=dict)  # master, worker1, worker2, connect

    @contextmanager
    def process(self, name: str, program: str, *words: str) -> Iterator[None]:
        """A process of Spark, which has a log of its `name`; it is ended with the block."""
        with (self.folder / f"{name}.log").open("w") as log:
            words = (str(self.home / "bin" / program), *words)
            started = subprocess.Popen(words, cwd=self.folder, env=self.settings, stdout=log, stderr=log)
        try:
            self.running[name] = started
            yield
        finally:
            started.terminate()
            started.wait()

    def wait(self, name: str, says: str) -> None:
        """Returns when the process of that `name` has said `says`; fails with its log where it does not."""
        log = self.folder / f"{name}.log"
        if not happens(lambda: says in log.read_text(), unless=lambda: self.running[name].poll() is not None):
            raise AssertionError(f"{name} does not start:\n{log.read_text()[-3000:]}")

    @contextmanager
    def connect(self) -> Iterator[str]:
        """The address, sc://127.0.0.1:15002, of a Spark Connect server: the one application while the block lasts."""
        port = free_port()
        words = ["--master", self.master, "--conf", f"spark.connect.grpc.binding.port={port}"]
        words += ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=4"]
        words += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
        with self.process("connect", "spark-submit", *words):
            self.wait("connect", "Spark Connect server started")
            yield f"sc://127.0.0.1:{port}"

    def executors(self) -> list[int]:
        """The ids of the processes that work for the application that runs: the workers start them."""
        workers = (each.pid for name, each in self.running.items() if name.startswith("worker"))
        tasks = (path for worker in workers for path in Path(f"/proc/{worker}/task").glob("*/children"))
        started = sorted(int(each) for path in tasks for each in path.read_text().split())
        return [each for each in started if "CoarseGrainedExecutorBackend" in command_line(each)]

    def kill_executor(self) -> int:
        """The id of an executor that is killed as a machine that fails is: without a word. Spark starts another."""
        assert happens(self.executors), "no application runs"
        killed = self.executors()[0]
        os.kill(killed, signal.SIGKILL)
        return killed


@contextmanager
def spark_cluster(environment: Path, **more: str) -> Iterator[SparkCluster]:
    """A cluster of the pyspark in `environment`, a virtual environment; `more` are its environment variables."""
    [home] = environment.glob("lib/python*/site-packages/pyspark")
    local = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(environment / "bin/python"), "SPARK_HOME": str(home)}
    local |= {"PYTHONWARNINGS": "ignore", "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"}
    with tempfile.TemporaryDirectory(prefix="spark-") as folder, ExitStack() as running:
        (scratch := Path(folder, "scratch")).mkdir()
        cluster = SparkCluster(home, Path(folder), {**os.environ, **local, "TMPDIR": str(scratch), **more})
        port = free_port()
        cluster.master = f"spark://127.0.0.1:{port}"
        where = ["--host", "127.0.0.1", "--webui-port", "0"]
        words = ["org.apache.spark.deploy.master.Master", *where, "--port", str(port)]
        running.enter_context(cluster.process("master", "spark-class", *words))
        words = ["org.apache.spark.deploy.worker.Worker", *where, "-c", "1", "-m", "2g", cluster.master]
        for name in ("worker1", "worker2"):
            running.enter_context(cluster.process(name, "spark-class", *words, "-d", f"{folder}/{name}"))
        for name in ("worker1", "worker2"):
            cluster.wait(name, "Successfully registered with master")
        yield cluster


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def command_line(process: int) -> str:
    """What `process` was started as; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


def happens(sign: Callable[[], object], unless: Callable[[], bool] = lambda: False) -> bool:
    """Whether `sign()` comes true before `unless()` does, and before Spark has had time enough."""
    end = time.monotonic() + SECONDS
    while not sign() and not unless() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(sign())
