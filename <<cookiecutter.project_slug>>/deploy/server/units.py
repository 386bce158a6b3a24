"""The parts of compose.yaml as units of systemd, in state/units/; `initialise` makes PostgreSQL's folder first."""

import os
import pwd
import re
import sys
from pathlib import Path

import server

UNIT = """[Unit]
Description={name} of the tracking server in {here}
After=network-online.target {after}
Wants=network-online.target {after}

[Service]
Type={kind}
User={user}
WorkingDirectory={here}
{variables}
EnvironmentFile={here}/.env
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ExecStart={words}
KillMode=mixed
{rest}

[Install]
WantedBy=multi-user.target
"""


def write() -> None:
    """A unit for each part; passwords stay in .env."""
    owner = pwd.getpwuid(server.HERE.stat().st_uid).pw_name
    known, folder = server.values(), Path("state/units")
    hidden = [known[key] for key in known if re.search("PASSWORD|SECRET|ACCESS_KEY", key)]
    folder.mkdir(parents=True, exist_ok=True)
    named = server.services()
    if owner == "root" and "postgres" in named:
        raise SystemExit(
            f"PostgreSQL does not run as root, who owns {server.HERE}: give the folder to another user, by chown -R"
        )
    for name in (name for name in ("postgres", "s3", "setup", "mlflow", "nginx") if name in named):
        part = server.environment(named[name])
        shown = {key: value for key, value in part.items() if value not in hidden and key not in ("HOME", "TMPDIR")}
        words = server.command(named[name])
        rest = ["Restart=on-failure", "RestartSec=2"]
        if name == "setup":
            rest = ["RemainAfterExit=yes"]
        if name == "postgres":
            rest += ["KillSignal=SIGINT", f"ExecStartPre={quoted([sys.executable, 'units.py', 'initialise'])}"]
        if name == "nginx":
            rest += ["AmbientCapabilities=CAP_NET_BIND_SERVICE"]  # port 443
        needs = [f"mlflow-{each}.service" for each in named[name].get("depends_on", {}) if each in named]
        text = UNIT.format(
            name=name,
            here=server.HERE,
            after=" ".join(needs),
            kind="oneshot" if name == "setup" else "exec",
            user=owner,
            variables="\n".join(f"Environment={quoted([f'{key}={value}'])}" for key, value in shown.items()),
            words=quoted([server.program(words[0], part), *words[1:]]),
            rest="\n".join(rest),
        )
        (folder / f"mlflow-{name}.service").write_text(text)
    print(f"{server.HERE / folder}: copy them to /etc/systemd/system, then systemctl enable --now mlflow-nginx")


def quoted(words: list[str]) -> str:
    """Words as systemd reads them."""
    escaped = [re.sub(r'([\\"])', r"\\\1", word).replace("%", "%%").replace("$", "$$") for word in words]
    return " ".join(f'"{word}"' for word in escaped)


if __name__ == "__main__":
    os.chdir(server.HERE)
    if sys.argv[1:] == ["initialise"]:
        server.initialised(server.environment(server.services()["postgres"]))
    else:
        write()
