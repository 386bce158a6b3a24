#!/usr/bin/env python3
"""A tracking server for a team, from compose.yaml beside this file and the values in .env.

server.py settings           writes .env, with new passwords, where it is not there yet
server.py start              runs the server: as processes until Ctrl-C, or by .env's ENGINE
server.py users              makes users, roles and permissions those of users.yaml
server.py backup             database and bucket into state/backup/<time>
server.py restore <time>     the same back into an empty server; --replace: into one that holds something
server.py upgrade            MLflow's tables for the version in requirements.txt, after a back-up
server.py units              state/units/*.service: the same for systemd
"""

import contextlib
import glob
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = Path("state")  # everything runs in HERE
PATIENCE = 90  # seconds for a part to answer
PROCESSES = {  # where the parts find each other outside containers, if .env does not say otherwise
    **{name: "127.0.0.1" for name in ("PGHOST", "S3_HOST", "MLFLOW_HOST", "BIND")},
    "SOCKETS": "",
}
PORTS = {"postgres": ("PGPORT", "5432"), "s3": ("S3_PORT", "8333"), "mlflow": ("MLFLOW_PORT", "5000")}
PORTS["nginx"] = ("HTTPS_PORT", "8443")


# --- Settings and commands


def settings() -> dict[str, str]:
    """The values in .env; the first time it is written from settings.env, with a password for each empty value."""
    file = Path(".env")
    for name in ("postgres", "s3", "nginx", "backup", "logs"):  # an engine would make them root's
        (STATE / name).mkdir(parents=True, exist_ok=True)
    if not file.exists():
        made = re.sub(r"(?m)^(\w+_(?:KEY|ID|PASSWORD)|PGPASSWORD)=$", new_password, Path("settings.env").read_text())
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            opened.write(
                f"{made}\n# Who the containers that are built here run as\nRUN_AS={os.getuid()}:{os.getgid()}\n"
            )
        print(f"{HERE / file} is written, with new passwords: keep it, and keep it to yourself")
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if re.match(r"\w+=.", line))


def new_password(match: re.Match) -> str:
    """The line of a password that had no value."""
    return f"{match[1]}={secrets.token_hex(20)}"


def values() -> dict[str, str]:
    """What compose.yaml's variables stand for outside containers."""
    given = settings()
    s3 = f"http://127.0.0.1:{given.get('S3_PORT', PORTS['s3'][1])}"
    return PROCESSES | {"LISTEN": given.get("HTTPS_ADDRESS", "0.0.0.0"), "MLFLOW_S3_ENDPOINT_URL": s3} | given


def filled(node, known: dict[str, str]):
    """A part of compose.yaml with its variables replaced, as the compose specification says."""
    if isinstance(node, dict):
        return {key: filled(value, known) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, known) for value in node]
    if not isinstance(node, str):
        return node

    def value(match: re.Match) -> str:
        name, colon, operator, other = match.groups()
        if name in known and (known[name] or not colon):
            return known[name]
        if operator == "?":
            raise SystemExit(f"{name} in {HERE / '.env'} {other}")
        return other or ""

    return re.sub(r"\$\{(\w+)(?:(:?)([-?])([^}]*))?\}", value, node)


def services(**more: str) -> dict[str, dict]:
    """The parts that compose.yaml names and .env's COMPOSE_PROFILES does not leave out."""
    import yaml

    known = values() | more
    wanted = {*known.get("COMPOSE_PROFILES", "").split(","), "once"}
    named = filled(yaml.safe_load(Path("compose.yaml").read_text()), known)["services"]
    return {name: part for name, part in named.items() if wanted & {*part.get("profiles", wanted)}}


def command(part: dict) -> list[str]:
    """What a part of compose.yaml runs."""
    return [*part.get("entrypoint", []), *part["command"]]


def environment(part: dict) -> dict[str, str]:
    """A part's own variables, and the machine's few that every program needs."""
    debian = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], *debian, "/usr/sbin"])
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
    return kept | {"PATH": path, "PGDATA": str(HERE / STATE / "postgres/data")} | part.get("environment", {})


def engine() -> list[str]:
    """The words of .env's ENGINE, none for processes."""
    return settings().get("ENGINE", "").split()


def once(name: str, *words: str, **more: str) -> None:
    """Runs a part of compose.yaml (its command, or `words`) to its end; ends this program where it fails."""
    if engine():
        options = [option for key, value in more.items() for option in ("--env", f"{key}={value}")]
        done = subprocess.run([*engine(), "run", "--rm", *options, name, *words], env=os.environ | more)
    else:
        part = services(**more)[name]
        done = run([*words] or command(part), environment(part) | more)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why


def run(words: list[str], known: dict[str, str], **options) -> subprocess.CompletedProcess:
    """A finished command, found on the PATH of its own variables."""
    return subprocess.run([program(words[0], known), *words[1:]], env=known, **options)


def program(name: str, known: dict[str, str]) -> str:
    """A program's file; a sentence where it is not installed."""
    found = shutil.which(name, path=known["PATH"])
    if not found:
        package = {"nginx": "nginx", "openssl": "openssl", "weed": "seaweedfs"}.get(name, "postgresql")
        raise SystemExit(
            f"{name} is not installed: {package} brings it; or an engine runs all parts (ENGINE in {HERE / '.env'}), or"
            " this one is left out (COMPOSE_PROFILES)"
        )
    return found


# --- Parts as processes


def start() -> None:
    """The whole server, each part when what it needs is there; as processes until this program is told to end."""
    if engine():
        raise SystemExit(subprocess.run([*engine(), "up", "--build", "--detach"]).returncode)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with Parts() as parts:
        for name in ("postgres", "s3"):
            parts.start(name)
        once("setup")
        for name in ("mlflow", "nginx"):
            parts.start(name)
        known = values()
        print(
            f"https://{known['SERVER_NAME']}:{known['HTTPS_PORT']} answers; logs are in {HERE / STATE / 'logs'}",
            flush=True,
        )
        parts.keep()


class Parts:
    """Processes that run until the end of a `with` block."""

    def __init__(self) -> None:
        self.named = services()
        self.running: dict[str, subprocess.Popen] = {}
        self.known = values()
        self.ends: dict[str, list[float]] = {}

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind, *_) -> bool:
        """Ends what runs, the last first; Ctrl-C and a signal to end are no fault."""
        for name, process in reversed(self.running.items()):
            # PostgreSQL at once, instead of when its last client has gone; the others wait for connections long after
            # what they keep is whole.
            with contextlib.suppress(ProcessLookupError):
                if name == "postgres":
                    process.send_signal(signal.SIGINT)
                else:
                    os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait({"postgres": 60, "s3": 3}.get(name, 10))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return kind is KeyboardInterrupt

    def answers(self, name: str) -> bool:
        """Whether something listens where a part does."""
        key, port = PORTS[name]
        host = self.known["LISTEN"].replace("0.0.0.0", "127.0.0.1") if name == "nginx" else "127.0.0.1"
        with socket.socket() as probe:
            return probe.connect_ex((host, int(self.known.get(key, port)))) == 0

    def start(self, name: str) -> None:
        """Starts a part that is to run here, and waits until it listens."""
        if name not in self.named:
            return
        if self.answers(name):
            raise SystemExit(
                f"{name} cannot start, as its port {self.known.get(*PORTS[name])} is taken: is it running?"
            )
        self.spawn(name)
        check = self.named[name].get("healthcheck", {}).get("test", ["CMD", "true"])[1:]
        for _ in range(PATIENCE * 5):
            known = environment(self.named[name])
            if self.answers(name) and run(check, known, capture_output=True).returncode == 0:
                return
            if self.running[name].poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit(f"{name} does not start: {self.last_words(name)}")

    def spawn(self, name: str) -> None:
        """A part's process, with a log of its own."""
        part = self.named[name]
        known = environment(part)
        options = {"start_new_session": True, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        if name == "postgres":
            options |= initialised(known)
        with self.log(name).open("a") as log:
            words = command(part)
            self.running[name] = subprocess.Popen(
                [program(words[0], known), *words[1:]], env=known, stdout=log, **options
            )

    def keep(self) -> None:
        """Starts again what ends; gives up on what ends five times in a minute."""
        while True:
            time.sleep(0.5)
            for name, process in self.running.items():
                if process.poll() is not None:
                    now = time.monotonic()
                    self.ends[name] = [at for at in self.ends.get(name, []) if at > now - 60] + [now]
                    if len(self.ends[name]) >= 5:
                        raise SystemExit(f"{name} does not stay: {self.last_words(name)}")
                    code = process.returncode  # of MLflow 0, also where its server was killed
                    how = f" with {code}" if code else ""
                    print(f"{name} ended{how}: started again", flush=True)
                    time.sleep(1)
                    self.spawn(name)

    @staticmethod
    def log(name: str) -> Path:
        """Where a part says what it does."""
        return STATE / "logs" / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line of its log, and where that is."""
        lines = self.log(name).read_text().splitlines() or ["it says nothing"]
        return f"{lines[-1]} ({HERE / self.log(name)})"


def initialised(known: dict[str, str]) -> dict:
    """Whom PostgreSQL runs as, once its folder is there: it does not run as root."""
    folder = STATE / "postgres/data"
    who = pwd.getpwuid(os.getuid()).pw_name
    if who == "root":
        who = "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"
    options = {"user": who, "cwd": folder} if os.getuid() == 0 else {}
    if not folder.exists():
        folder.mkdir(mode=0o700)
        password = folder.with_name("password")
        password.touch(0o600)
        password.write_text(known["POSTGRES_PASSWORD"])
        if options:
            shutil.chown(folder, who)
            shutil.chown(password, who)
        words = ["initdb", f"--username={known['POSTGRES_USER']}", f"--pwfile={password.resolve()}"]
        done = run(
            [*words, "--auth=scram-sha-256", "--encoding=UTF8"], known, capture_output=True, text=True, **options
        )
        password.unlink()
        if done.returncode:
            folder.rmdir()
            raise SystemExit(f"PostgreSQL's folder cannot be made: {done.stderr.strip().splitlines()[-1]}")
    return options


# --- Back-up, restoring, upgrade, users, units


@contextlib.contextmanager
def storage():
    """Database and bucket's host, started for as long as this takes where they do not run already."""
    if engine():
        yield
        return
    with Parts() as parts:
        for name in ("postgres", "s3"):
            if not parts.answers(name):
                parts.start(name)
        once("setup")
        yield


def users() -> None:
    """Users, roles and permissions as users.yaml has them; see there."""
    once("tool", "python", "users.py", HERE=str(HERE))


def backup() -> str:
    """The back-up's name. The database first: so every file that it names is in the copy of the bucket."""
    name = time.strftime("%Y-%m-%dT%H-%M-%S")
    part = STATE / "backup" / f"{name}.part"
    part.mkdir(parents=True, mode=0o700)
    with storage():
        once("dump", BACKUP=part.name)
        once("tool", "python", "tasks.py", "save-bucket", f"{part}/bucket")
    part.rename(part.with_suffix(""))
    print(f"{HERE / part.with_suffix('')} is whole: copy it to another machine")
    return name


def restore(name: str, replace: str = "") -> None:
    """Database and bucket as they were; files of the bucket that the back-up has not stay."""
    folder = STATE / "backup" / Path(name).name
    if not (folder / "mlflow.dump").exists() or folder.suffix:
        there = sorted(path.name for path in (STATE / "backup").glob("*") if not path.suffix)
        raise SystemExit(f"{name} is no back-up in {HERE / folder.parent}: there is {', '.join(there) or 'none'}")
    if not engine() and Parts().answers("mlflow"):
        raise SystemExit("MLflow runs: end the server, restore, and start it again")
    with storage():
        if replace != "--replace":
            once("tool", "python", "tasks.py", "empty")
        if engine():
            subprocess.run([*engine(), "stop", "nginx", "mlflow"], check=True)
        once("load", BACKUP=folder.name)
        once("tool", "python", "tasks.py", "load-bucket", f"{folder}/bucket")
        once("tool", "python", "tasks.py", "admit-administrator")
    print(f"{folder.name} is restored: start the server")


def upgrade() -> None:
    """MLflow's tables as the installed version wants them; the back-up is the way back."""
    if not engine() and Parts().answers("mlflow"):
        raise SystemExit("MLflow runs: end the server, upgrade, and start it again")
    with storage():
        name = backup()
        once("tool", "mlflow", "db", "upgrade", "postgresql:///mlflow")
    print(
        f"MLflow's tables are upgraded: start the server; the way back is the old requirements.txt and"
        f" `restore {name} --replace`"
    )


def units() -> None:
    """The same for systemd."""
    raise SystemExit(subprocess.run([sys.executable, "units.py"]).returncode)


ACTIONS = {action.__name__: action for action in (settings, start, users, backup, restore, upgrade, units)}

if __name__ == "__main__":
    os.chdir(HERE)
    sys.stdout.reconfigure(line_buffering=True)  # what programs print comes after what was said of them, in a log too
    given = sys.argv[1:] or [""]
    if given[0] not in ACTIONS or (len(given) > 1 and given[0] != "restore") or given == ["restore"]:
        sys.exit(__doc__ if given[0] in {"", *ACTIONS} else f"there is no `{given[0]}`; there is:\n{__doc__}")
    try:
        ACTIONS[given[0]](*given[1:])
    except OSError as error:
        sys.exit(f"server.py {given[0]}: {error}")
