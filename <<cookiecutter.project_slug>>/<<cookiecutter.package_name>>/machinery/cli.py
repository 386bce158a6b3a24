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
    from .config import compose, credentials
    from .errors import Refused
    from .pipeline import plan

    word, words = (argv[0], argv[1:]) if argv and re.fullmatch(r"\w+", argv[0]) else ("register", argv)
    run_id = os.environ.get("MLFLOW_RUN_ID")
    try:
        job = word if word in compose.JOBS else None
        if word not in (*plan.LINE, "explain") and not job:
            known = "|".join([*plan.LINE, "explain", *compose.JOBS])
            raise Refused(f"{word} is no stage and no job: {USAGE.format(known)}")
        if not run_id and HYDRA_FLAGS & set(words):
            return hydra_itself(words)
        asked = overrides(words, caller, job)
        resolved, stated = compose.resolve(asked, job)
        credentials.refuse_literal(stated)
        plan = plan.Plan(resolved, stated, asked)
        if word == "explain":
            print(*plan.explained(), sep="\n")
            return 0
    except Refused as error:  # before there is a run of ours: `mlflow run` has opened one, which it will end as FAILED
        if run_id:
            from .mlflow import tracking

            tracking.fail(run_id, str(error))
        return _say(str(error))
    if not job and plan.up_to_date(word):
        plan.store.remember()
        summary, made = plan.done(word)
        if run_id:
            from .mlflow import tracking

            tracking.link(made, summary, run_id, stage=word)
        print(summary)
        return 0
    from .pipeline import runner

    try:
        code = runner.run_job(word, plan, began) if job else runner.run(word, plan)
    except Refused as error:
        return _say(str(error))
    return 0 if run_id else code


def _say(sentence: str) -> int:
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)  # the line of the stage that was under way
    from .config import credentials

    print(f"{__package__}: {credentials.hide(sentence, credentials.hidden(''))}", file=sys.stderr)
    return 1


def hydra_itself(words: list[str]) -> int:
    """Hydra's own answer to flags such as `--cfg job` and `--help`; nothing is run."""
    import hydra

    sys.argv = [__package__, *words]
    hydra.main(config_path=str(ROOT / "conf"), config_name="config", version_base="1.3")(lambda _: None)()
    return 0


def _interrupt(*_: object) -> None:
    """What an interrupt and a polite kill do, once: the runs under way are ended in MLflow first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    sys.exit(main(sys.argv[1:]))
