"""`python -m <package> [stage] key=value ...`, or MLflow's `--key value`: what a command line says, done."""

import csv
import gc
import os
import re
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HYDRA_FLAGS = {"--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i"}
DEFAULTS = {  # unless the environment or .env says otherwise: no wall of lines, no reports of usage to anybody, and
    "POLARS_IDEAL_MORSEL_SIZE": "20000",  # rows that polars streams at a time: half the memory of its own 100 000
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model needs less than all that the project locks
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",  # a minute: a server that is started anew is waited for
    "GX_ANALYTICS_ENABLED": "false",
}
USAGE = f"python -m {__package__} [{{}}] [key=value ...]"


def main(argv: list[str]) -> int:
    """The exit code of what `argv` asks for; a refusal is one sentence on stderr."""
    began = time.time()
    gc.disable()  # while importing: looking for garbage among what stays anyway cost a third of the start-up (measured)
    try:
        from dotenv import load_dotenv

        caller = caller_folder()
        os.chdir(ROOT)
        load_dotenv(ROOT / ".env", override=False)
        os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})
        return _do(argv, caller, began)
    except ModuleNotFoundError as error:
        if (error.name or __package__).partition(".")[0] == __package__:
            raise
        return _say(f"{sys.executable} has no {error.name}: run through `uv run`, or `uv sync` first")
    except KeyboardInterrupt as interrupt:
        _say(str(interrupt) or "interrupted")
        return 130
    finally:
        gc.enable()


def _do(argv: list[str], caller: Path, began: float) -> int:
    from . import config, credentials, plans
    from .errors import Refused

    word, words = (argv[0], argv[1:]) if argv and re.fullmatch(r"\w+", argv[0]) else ("register", argv)
    run_id = os.environ.get("MLFLOW_RUN_ID")
    try:
        job = word if word in config.JOBS else None
        if word not in (*plans.LINE, "explain") and not job:
            known = "|".join([*plans.LINE, "explain", *config.JOBS])
            raise Refused(f"{word} is no stage and no job: {USAGE.format(known)}")
        if not run_id and HYDRA_FLAGS & set(words):
            return hydra_itself(words)
        asked = overrides(words, caller, job)
        resolved, stated = config.resolve(asked, job)
        credentials.refuse_literal(stated)
        plan = plans.Plan(resolved, stated, asked)
        if word == "explain":
            print(*plan.explained(), sep="\n")
            return 0
    except Refused as error:  # before there is a run of ours: `mlflow run` has opened one, which it will end as FAILED
        if run_id:
            from . import tracking

            tracking.fail(run_id, str(error))
        return _say(str(error))
    if not job and plan.up_to_date(word):
        plan.store.remember()
        summary, made = plan.done(word)
        if run_id:
            from . import tracking

            tracking.link(made, summary, run_id, stage=word)
        print(summary)
        return 0
    from . import pipeline

    try:
        code = pipeline.run_job(word, plan, began) if job else pipeline.run(word, plan)
    except Refused as error:
        return _say(str(error))
    return 0 if run_id else code


def _say(sentence: str) -> int:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)  # the line of the stage that was under way
    from . import credentials

    print(f"{__package__}: {credentials.hide(sentence, credentials.hidden(''))}", file=sys.stderr)
    return 1


def overrides(words: list[str], caller: Path, job: str | None = None) -> list[str]:
    """Hydra overrides that give every key the value typed, whatever Hydra's grammar makes of it.

    `--key value` and `key=value` mean the same; `+key=value` and `~key` go to Hydra as they are. A relative path of a
    source is looked for in `caller`, the folder in which the command was typed, first.
    """
    from . import config

    pairs, plain = _pairs(words)
    groups = config.groups()
    chosen = [f"{key}={value}" for key, value in pairs if key in groups]
    others = [(key, value) for key, value in pairs if key not in groups]
    base = config.composed(chosen, job) if others else None  # tells what these keys take
    values = [(key, value, config.wants(base, key)) for key, value in others if base is not None]
    clash = {"mapping": ("{", "["), "list": ("{",)}  # replaced, where Hydra would merge them or take neither
    replaced = [f"~{key}" for key, value, kind in values if value[:1] in clash.get(kind, ())]
    return chosen + plain + replaced + [_override(key, value, kind, caller) for key, value, kind in values]


def caller_folder() -> Path:
    """The folder in which the command was typed: that of `mlflow run` where it is an ancestor, else the current one."""
    if "MLFLOW_RUN_ID" in os.environ:
        import psutil

        for process in psutil.Process().parents():
            try:
                if "mlflow" in Path(" ".join(process.cmdline()[:2])).name:
                    return Path(process.cwd())
            except psutil.Error:  # another user's process
                break
    return Path.cwd()


def hydra_itself(words: list[str]) -> int:
    """Hydra's own answer to flags such as `--cfg job` and `--help`; nothing is run."""
    import hydra

    sys.argv = [__package__, *words]
    hydra.main(config_path=str(ROOT / "conf"), config_name="config", version_base="1.3")(lambda _: None)()
    return 0


def _pairs(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (key, value) pairs in `words`, and the words that are for Hydra as they stand."""
    from .errors import Refused

    pairs, plain, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if word[:1] in ("+", "~"):
            plain.append(word)
            continue
        key, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and not equals and rest:
            value = rest.pop(0)
        elif not equals:
            raise Refused(f"{word!r} is neither key=value nor --key value")
        if not re.fullmatch(r"[\w.\-]+", key):
            raise Refused(f"{key!r} is no key")
        pairs.append((key, value))
    return pairs, plain


def _override(key: str, value: str, kind: str, caller: Path) -> str:
    """One override in Hydra's grammar; `kind`: what the key takes, see config.wants."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    elif (key in ("path", "input") or key.startswith("source.")) and value and (caller / value).exists():
        value = str(caller / value)
    elif key == "output" and value and not re.match(r"\w[\w+]*://|\$\{", value):
        value = str(caller / value)  # it need not be there yet
    elif key == "output" and re.match(r"sqlite:///[^/]", value):
        value = value.replace(":///", f":///{caller}/", 1)
    # `++`: conf/ need not list every argument of an open section's callable; a closed section refuses what it has not
    if kind == "text or null" and value == "'null'":
        return f"++{key}='null'"  # the text, for a column that is called so
    if kind == "texts":
        return f"++{key}=[{','.join(_quoted(item) for item in _items(value))}]"
    if kind == "text" or (kind == "text or null" and value != "null"):
        return f"++{key}={_quoted(value)}"
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}")
        understood = not parsed.is_sweep_override()
    except HydraException:
        understood = False
    return f"++{key}={value if understood else _quoted(value)}"


def _items(value: str) -> list[str]:
    """The texts of a list `[a, "b, c"]`; without brackets, the one text that `value` is."""
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return [value] if value else []
    inner = " ".join(inner[1:-1].split("\n")).strip()
    quote = '"' if '"' in inner else "'"
    return [item.strip() for item in next(csv.reader([inner], quotechar=quote, skipinitialspace=True), [])]


def _quoted(text: str) -> str:
    """`text` as a quoted value of Hydra's grammar, in which backslashes count before a quote only."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda run: 2 * run[1] + ("\\'" if run[2] else ""), text) + "'"


def _interrupt(*_: object) -> None:
    """What an interrupt and a polite kill do, once: the runs under way are ended in MLflow first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    sys.exit(main(sys.argv[1:]))
