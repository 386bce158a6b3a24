"""The commands of a project: `[stage or job] key=value ...`, or MLflow's `--key value`."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import privacy
from .errors import INTERRUPTED, ConfigError, ProjectError, close
from .layout import MACHINERY, Layout
from .pipeline.command_result import CommandResult

if TYPE_CHECKING:
    from .pipeline.plan import Plan

HYDRA_FLAGS = {"--cfg", "-c", "--help", "-h", "--hydra-help", "--info", "-i"}
EXPLAIN = "explain"  # the word that runs nothing
LOADING = ("monitor", "predict", "tune")  # jobs that load a model, or save one
ELSEWHERE = {"great_expectations": ".data.expectations", "matplotlib": ".report.plots"}  # see second_process.py
LAST = "last.json"  # in platform.outputs
DEFAULTS = {  # unless the environment or .env says otherwise: no wall of lines, no reports of usage to anybody, and
    "POLARS_IDEAL_MORSEL_SIZE": "20000",  # rows that polars streams at a time: half the memory of its own 100 000
    "POLARS_ICEBERG_PLANNER": "pyiceberg",  # else polars says at each table that there is a faster one
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "_MLFLOW_ENABLE_UC_TRACE_UPSELL": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model needs less than all that the project locks
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",  # after 0, 6, 12 and 24 seconds: a server that is started anew is
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "3",  # waited for, and no failure takes more than a minute
    "GX_ANALYTICS_ENABLED": "false",
}


def main(argv: list[str] | None = None, *, root: Path, package: str) -> int:
    """The exit code of the words `argv` (None: those of this process) for the project in `root`: see errors.py.

    An error that a person can act on is one sentence on stderr. What the command did is written to outputs/last.json,
    or to the file that the word `result=...` names.
    """
    began = time.time()
    if argv is None:
        argv = sys.argv[1:]
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, _interrupt)
        if not sys.stdout.isatty():
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Pipe(1, "w", closefd=False)), sys.stdout.encoding)
    gc.disable()  # while importing, see layout.py
    plans: list[Plan] = []
    under_mlflow = bool(os.environ.get("MLFLOW_RUN_ID"))  # MLflow takes it away; it makes a failure of each code but 0
    result, file = CommandResult(""), ""
    try:
        from dotenv import load_dotenv

        from .config.overrides import caller_folder

        try:
            Path.home()
        except RuntimeError:  # a container's user may have neither a name nor a home, and MLflow wants one
            os.environ["HOME"] = tempfile.gettempdir()
        caller = caller_folder()
        os.chdir(root)
        try:
            load_dotenv(root / ".env", override=False, encoding="utf-8-sig")  # Notepad writes a byte order mark
        except UnicodeDecodeError as error:
            raise ConfigError(".env is not UTF-8: save it as UTF-8") from error
        os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})
        words, file = _without_result(argv, caller)
        result.exit_code = _run(words, Layout(root, package), caller, began, result, plans)
    except ProjectError as error:
        _fail(package, result, str(error), error.code)
    except ModuleNotFoundError as error:
        if (error.name or package).partition(".")[0] in (package, MACHINERY.partition(".")[0]):
            raise
        _fail(package, result, f"{sys.executable} has no {error.name}: run through `uv run`, or `uv sync` first", 1)
    except KeyboardInterrupt as interrupt:
        _fail(package, result, str(interrupt) or "interrupted", INTERRUPTED)
    finally:
        gc.enable()
        sys.stdout.flush()
    if result.command and (file or result.command != EXPLAIN):
        result.exit_code = _write(result, file, plans, argv, package)
    return 0 if under_mlflow and result.status == "finished" else result.exit_code


class _Pipe(io.FileIO):
    """A pipe of which the reader may stop reading, as `head` does: the command goes on, and says no more there."""

    def write(self, data: Any) -> int:
        """The number of bytes, written or not."""
        with suppress(BrokenPipeError):
            return super().write(data)
        return memoryview(data).nbytes


def _run(argv: list[str], layout: Layout, caller: Path, began: float, result: CommandResult, plans: list[Plan]) -> int:
    """The exit code; `result` and `plans` are filled on the way, so that a failure can be written down as well."""
    is_word = argv and re.fullmatch(r"\w+", argv[0])
    word, words = (argv[0], argv[1:]) if is_word else (layout.stages[-1], argv)
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id and HYDRA_FLAGS & set(words):
        return _hydra(layout, words)
    result.command, result.run_id = word, run_id
    try:
        job = word if word in layout.jobs else None
        if word not in (commands := [*layout.stages, EXPLAIN, *layout.jobs]):
            usage = f": python -m {layout.package} [{_words(layout)}] ..."
            raise ConfigError(f"{word} is no stage and no job{close(word, commands, usage)}")
        plan = _plan(layout, words, caller, job, began)
    except ProjectError as error:  # before there is a run of ours: `mlflow run` has opened one, which it ends as FAILED
        code = ConfigError.code if type(error) is ProjectError else error.code
        if run_id:
            from .mlflow import tracking

            tracking.fail(run_id, str(error), code)
        return _fail(layout.package, result, str(error), code)
    plans.append(plan)
    plan.result = result
    result.overrides = privacy.words_withheld(plan.overrides, plan.config.columns.sensitive)
    if word == EXPLAIN:
        result.summary = plan.explained()
        print(*result.summary, sep="\n")
        return 0
    if not job and plan.up_to_date(word):
        plan.store.remember()
        summary, made = plan.done(word)
        if run_id:
            from .mlflow import tracking

            server = plan.config.platform.server
            result.notes = tracking.connect(experiment=plan.config.experiment_name, server=server, hide=plan.hide)
            tracking.link(made, summary, run_id, stage=word, exit_code="0")
            summary = "\n".join([summary, *(f"note: {note}" for note in result.notes)])
        print(summary)
        return 0
    if not job:
        from . import second_process

        for library in plan.store.engine.elsewhere:
            if plan.will_import(library, word):
                second_process.submit(second_process.load, ELSEWHERE[library])
    if job in (None, *LOADING):  # before all else: it looks for each of its types in every module that is imported
        import skops.io  # noqa: F401
    from .pipeline import runner

    return runner.run_job(word, plan) if job else runner.run(word, plan)


def _words(layout: Layout) -> str:
    return "|".join([*layout.stages, EXPLAIN, *layout.jobs])


def _plan(layout: Layout, words: list[str], caller: Path, job: str | None, began: float) -> Plan:
    from .config import compose, credentials
    from .config.overrides import overrides
    from .pipeline.plan import Plan

    typed = overrides(layout, words, caller, job)
    config, raw_config = compose.resolve(layout, typed, job)
    credentials.refuse_literal(raw_config)
    if getattr(getattr(config, "features", None), "derive", None):  # polars is not imported for nothing
        from .data import derivation

        derivation.check(config, package=layout.package)
    return Plan(layout, config, raw_config, typed, began=began)


def _without_result(argv: list[str], caller: Path) -> tuple[list[str], str]:
    """The words without `result=path` (or MLflow's `--result path`), and that path, from the folder of the command."""
    words, file = list(argv), ""
    for at, word in enumerate(argv):
        if word == "--result" and at + 1 < len(argv):
            file, words = argv[at + 1], argv[:at] + argv[at + 2 :]
        elif word.removeprefix("--").startswith("result="):
            file, words = word.partition("=")[2], argv[:at] + argv[at + 1 :]
    return words, str(caller / Path(file).expanduser()) if file else ""


def _write(result: CommandResult, file: str, plans: list[Plan], argv: list[str], package: str) -> int:
    """The exit code, once `result` stands in `file`, or else in platform.outputs."""
    from .config import credentials
    from .pipeline.bucket import local_folder
    from .pipeline.store import Store

    typed = [word.partition("=")[2] for word in argv if word.removeprefix("--").startswith("platform.outputs=")]
    unplanned = local_folder(typed[-1] if typed else "outputs")  # what conf says is not known
    store = plans[0].store if plans else Store(unplanned)
    path = Path(file) if file else store.root / LAST
    values = plans[0].hidden if plans else credentials.hidden("")
    text = json.dumps(_hidden(asdict(result), values), indent=2, ensure_ascii=False, default=str)
    try:
        store.replace(path, text + "\n")
    except OSError as error:
        if file:  # somebody waits for it
            return _fail(package, result, f"result={file} cannot be written: {error.strerror}", result.exit_code or 1)
    return result.exit_code


def _hidden(value: Any, values: dict[str, str]) -> Any:
    """`value`, nested, without the `values` of credentials in its texts."""
    from .config import credentials

    if isinstance(value, dict):
        return {key: _hidden(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each, values) for each in value]
    return credentials.hide(value, values) if isinstance(value, str) else value


def _fail(package: str, result: CommandResult, sentence: str, code: int) -> int:
    """`code`, once the `sentence` is on stderr and in `result`."""
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)  # the line of the stage that was under way
    with suppress(ModuleNotFoundError):  # a library is missing: that is what the sentence says
        from .config import credentials

        sentence = credentials.hide(sentence, credentials.hidden(""))
    result.status, result.cause = "interrupted" if code == INTERRUPTED else "failed", sentence
    result.exit_code = code
    print(f"{package}: {sentence}", file=sys.stderr)
    return code


def _hydra(layout: Layout, words: list[str]) -> int:
    """Hydra's own answer to flags such as `--cfg job` and `--help`; nothing is run."""
    import hydra

    header = f"python -m {layout.package} [{_words(layout)}] [key=value ...]"
    help_words = [f"hydra.help.app_name='{layout.package}'", f"hydra.help.header='{header}'"]
    sys.argv = [layout.package, *words, *help_words]
    hydra.main(config_path=str(layout.conf), config_name="config", version_base="1.3")(lambda _: None)()
    return 0


def _interrupt(*_: object) -> None:
    """What an interrupt and a polite kill do, once: the runs under way are ended in MLflow first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt
