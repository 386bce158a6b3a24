"""What a command line asks for, done: `[stage or job] key=value ...`, or MLflow's `--key value`."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .layout import Layout

if TYPE_CHECKING:
    from .pipeline.plan import Plan

HYDRA_FLAGS = {"--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i"}
EXPLAIN = "explain"  # the word that runs nothing
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


def main(argv: list[str] | None = None, *, root: Path, package: str) -> int:
    """The exit code of the words `argv` (None: those of this process) for the project in `root`; errors.py has the
    codes.

    An error that a person can act on is one sentence on stderr.
    """
    began = time.time()
    if argv is None:
        argv = sys.argv[1:]
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, _interrupt)
    gc.disable()  # while importing, see layout.py
    try:
        from dotenv import load_dotenv

        from .config.overrides import caller_folder

        caller = caller_folder()
        os.chdir(root)
        load_dotenv(root / ".env", override=False)
        os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})
        return _run(argv, Layout(root, package), caller, began)
    except ModuleNotFoundError as error:
        if (error.name or package).partition(".")[0] in (package, __name__.partition(".")[0]):
            raise
        return _fail(package, f"{sys.executable} has no {error.name}: run through `uv run`, or `uv sync` first")
    except KeyboardInterrupt as interrupt:
        return _fail(package, str(interrupt) or "interrupted", code=130)
    finally:
        gc.enable()


def _run(argv: list[str], layout: Layout, caller: Path, began: float) -> int:
    from .errors import ProjectError

    is_word = argv and re.fullmatch(r"\w+", argv[0])
    word, words = (argv[0], argv[1:]) if is_word else (layout.stages[-1], argv)
    run_id = os.environ.get("MLFLOW_RUN_ID")
    try:
        job = word if word in layout.jobs else None
        if word not in (*layout.stages, EXPLAIN) and not job:
            words_there = "|".join([*layout.stages, EXPLAIN, *layout.jobs])
            raise ProjectError(
                f"{word} is no stage and no job: python -m {layout.package} [{words_there}] [key=value ...]"
            )
        if not run_id and HYDRA_FLAGS & set(words):
            return _hydra(layout, words)
        plan = _plan(layout, words, caller, job)
        if word == EXPLAIN:
            print(*plan.explained(), sep="\n")
            return 0
    except (
        ProjectError
    ) as error:  # before there is a run of ours: `mlflow run` has opened one, which it will end as FAILED
        if run_id:
            from .mlflow import tracking

            tracking.fail(run_id, str(error))
        return _fail(layout.package, str(error))
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
    except ProjectError as error:
        return _fail(layout.package, str(error))
    return 0 if run_id else code


def _plan(layout: Layout, words: list[str], caller: Path, job: str | None) -> Plan:
    from .config import compose, credentials
    from .config.overrides import overrides
    from .pipeline.plan import Plan

    typed = overrides(layout, words, caller, job)
    config, raw_config = compose.resolve(layout, typed, job)
    credentials.refuse_literal(raw_config)
    if getattr(getattr(config, "features", None), "derive", None):  # polars is not imported for nothing
        from .data import derivation

        derivation.check(config, package=layout.package)
    return Plan(layout, config, raw_config, typed)


def _fail(package: str, sentence: str, code: int = 1) -> int:
    """`code`, once the `sentence` is on stderr."""
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)  # the line of the stage that was under way
    from .config import credentials

    print(f"{package}: {credentials.hide(sentence, credentials.hidden(''))}", file=sys.stderr)
    return code


def _hydra(layout: Layout, words: list[str]) -> int:
    """Hydra's own answer to flags such as `--cfg job` and `--help`; nothing is run."""
    import hydra

    sys.argv = [layout.package, *words]
    hydra.main(config_path=str(layout.conf), config_name="config", version_base="1.3")(lambda _: None)()
    return 0


def _interrupt(*_: object) -> None:
    """What an interrupt and a polite kill do, once: the runs under way are ended in MLflow first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt
