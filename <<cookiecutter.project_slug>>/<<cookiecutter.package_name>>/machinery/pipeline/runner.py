"""The steps of a plan, carried out: each stage reused, or run in an MLflow run nested in the command's."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..config import credentials, privacy, targets
from ..config.binding import bound
from ..config.schema import Settings
from ..errors import ConfigError, ProjectError, close, cut
from ..mlflow import model_format, registry, run_history, tracking
from ..result import StageResult
from . import processes, provenance
from .execution import execute
from .plan import CONTENTS, Plan, Step, hashed
from .source_fingerprint import pinned
from .store import write

_LETTERS = 500  # letters of a parameter
UNLOCKED = (
    "{0} is not in the lock: where it is not installed, this model cannot be loaded; `uv add {0}` and `make lock` "
    "put it there"
)


def run(word: str, plan: Plan) -> int:
    """Brings the stage `word`, and all stages before it, up to date; gives the exit code."""
    config = plan.config
    model, data = config.choices["model"], config.choices["data"]
    about = f"{model} predicting {config.columns.target or 'anomalies'} of {data}. {config.description}"
    with _tracked(word, f"{model}-{data}", about, plan) as notes:
        line = PipelineRun(plan)
        line.bring_all_up_to_date(word)
        tracking.log_texts({"lineage.json": _json(line.lineage())})
        line.link(about)
        extras = plan.unlocked()
        tracking.set_tags({f"version.{name}": number for name, number in extras.items()})
        notes += [UNLOCKED.format(name) for name in extras]
        closing = [outcome.closing for outcome in line.outcomes.values() if outcome.closing]
        print(*(f"\n{lines}" for lines in closing), sep="\n")
        _close([*(note for outcome in line.outcomes.values() for note in outcome.notes), *notes], plan)
    plan.notice(word)
    return 0


def run_job(word: str, plan: Plan) -> int:
    """The exit code of the job `word`: a function that takes sections of the config by its arguments, as a stage does.

    It may also take `raw_config` (the config as written), the `overrides`, `began` (when the command began, in seconds
    since 1970), `layout`, `code` (the project's fingerprints), `progress`, and `bring_up_to_date(stage)`, which does
    that to a stage and all before it.
    """
    config = plan.config
    name = config.tracking.run_name or f"{word}-{config.choices['data']}"

    def bring_up_to_date(last: str) -> None:
        line = PipelineRun(plan)
        line.bring_all_up_to_date(last)
        line.link(config.description)
        tracking.rename(name)  # not after what the stages gave

    store, function, private = plan.store, plan.layout.function(word), bool(config.columns.sensitive)
    offered = vars(config) | {"raw_config": plan.raw_config, "overrides": plan.overrides, "began": plan.began}
    offered |= {"layout": plan.layout, "code": plan.code, "progress": tracking.log_progress}
    offered["bring_up_to_date"] = bring_up_to_date
    takes = inspect.signature(function).parameters.values()
    inputs = {each.name: offered[each.name] for each in takes if each.kind is each.KEYWORD_ONLY}
    if getattr(config, "action", None) in getattr(config, "untracked", ()) and not plan.result.run_id:
        try:
            return _finish(function(store, **inputs), [], plan)
        except Exception as error:
            raise tracking.as_project_error(error, private) from error
    with _tracked(word, name, config.description, plan) as notes:
        store.keys[word] = hashed([time.time_ns(), os.getpid()])
        with store.draft(word) as folder:
            try:
                outcome = execute(function, store, inputs=inputs, seed=config.seed, libraries=(), opened=())
            except ProjectError as error:
                if "registered_model" in inputs and (data := f"data={config.choices['data']}") not in str(error):
                    error.about = f" (about {config.registered_model}, the model of {data})"
                _log_refused(error, folder, plan)
                raise
            write(folder, outcome)
            tracking.log_outcome(outcome, folder)
            as_markdown = textwrap.indent(outcome.summary, "    " * ("\n" in outcome.summary))  # a table stays one
            tracking.set_tags({"mlflow.note.content": as_markdown, "exit_code": str(outcome.code)})
        return _finish(outcome, notes, plan)


def _finish(outcome: StageResult, notes: list[str], plan: Plan) -> int:
    """The exit code of a job, once its `outcome` is printed."""
    plan.result.add(outcome)
    plan.result.summary = outcome.summary.splitlines()
    print(outcome.summary)
    _close([*outcome.notes, *notes], plan)
    return outcome.code


@contextmanager
def _tracked(word: str, name: str, about: str, plan: Plan) -> Iterator[list[str]]:
    """An MLflow run of a command; gives sentences about where it is. Whatever is raised becomes a ProjectError."""
    gc.freeze()  # all that is imported by now stays
    gc.enable()
    config, raw_config, root = plan.config, plan.raw_config, plan.layout.root
    server, private = config.platform.server, bool(config.columns.sensitive)
    trusts = functools.partial(targets.is_trusted_type, package=plan.layout.package, conf=plan.layout.conf)
    model_format.trust(functools.partial(trusts, trusted=config.trusted))
    notes = tracking.connect(experiment=config.experiment_name, server=server, hide=plan.hide)
    try:
        tags = {"stage": word, "seed": str(config.seed), "lock": provenance.lock(root)} | provenance.tree(root)
        tags |= provenance.about() | tracking.versions() | _labels(config)
        metrics = config.tracking.system_metrics
        name = config.tracking.run_name or name
        with tracking.run(name, tags=tags, description=about, system_metrics=metrics, private=private) as run_id:
            plan.result.run_id, plan.result.experiment_id = run_id, tracking.experiment_id()
            plan.result.look = tracking.ui_hint()
            tracking.end_orphaned_runs(processes.is_dead)
            tracking.describe_experiment(config.experiment_name, config.description, {"project": config.project})
            shown = privacy.withheld(raw_config, config.columns.sensitive)
            texts = {"config.json": shown, "dependencies.json": provenance.dependencies()}
            tracking.log_texts({name: _json(value) for name, value in texts.items()})
            tracking.log_texts(
                provenance.changes(root, secret=functools.partial(_secret, hide=plan.hide, config=config))
            )
            yield notes
    except Exception as error:
        raise tracking.as_project_error(error, private) from error


def _secret(text: str, code: bool, *, hide: Callable[[str], str], config: Settings) -> str | None:
    """What must not be written down of a file's `text`, `code` or not: a credential, a value of a sensitive column."""
    if not code and privacy.stands_in(text, config.expectations, config.columns.sensitive):
        return "a value of columns.sensitive"
    named = "a credential by its name" if credentials.line_in(text, code=code) else None
    return credentials.kind_in(text) or named or ("a value of the environment" if hide(text) != text else None)


class PipelineRun:
    """The stages brought up to date so far, and so what the next one starts from."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config, self.raw_config, self.store = plan, plan.config, plan.raw_config, plan.store
        self.params = {name: plan.hide(value) for name, value in _params(plan.config).items()}
        self.outcomes: dict[str, StageResult] = {}
        self.steps: list[dict[str, Any]] = []  # the lineage, a stage each
        self.reused: dict[str, str] = {}  # the runs that made the outputs that are used again, by stage
        self.model_id = ""

    def bring_all_up_to_date(self, last: str) -> None:
        """Runs or reuses each stage up to `last`, in an MLflow run that has this run's parameters."""
        tracking.log_params(self.params)
        for stage in self.plan.up_to(last):
            self.bring_up_to_date(stage)

    def bring_up_to_date(self, stage: str) -> None:
        """Runs `stage`, or reuses what it gave under the same key, and logs that to the parent run."""
        began = time.monotonic()
        _show(f"{stage:<9} ...")
        step = self.plan.step(stage)
        reused = not step.reason or not self._run(step)
        record, outcome = self.store.record(stage), self.store.outcome(stage)
        if reused and run_history.has(record["run"]):  # else another store has it: outputs/ may serve several
            self.reused[stage] = record["run"]
        self.outcomes[stage] = outcome
        recorded = {name: record[name] for name in ("stage", "key", "run", "files")} | {"store": record.get("store")}
        made = {name: getattr(outcome, name) for name in ("facts", "scores", "model", "aliases")}
        self.steps.append({**recorded, "reused": reused, **made})
        self._log(stage, step.key, outcome)
        self.plan.note(step, outcome, reused=reused)
        self.plan.result.model_id = self.model_id or None
        seconds = time.monotonic() - began
        if not reused:
            tracking.log_costs({f"seconds_{stage}": seconds})
        how = f"reused from run {record['run'][:8]}" if reused else f"{seconds:.1f} s, {step.reason}"
        _show(f"{stage:<9} {outcome.summary} ({how})\n")

    def link(self, about: str) -> None:
        """Says on the parent run which outputs it rests on, and which runs made those that it used again."""
        tracking.link(self.reused, about, **{f"key.{step['stage']}": step["key"] for step in self.steps})

    def lineage(self) -> dict[str, Any]:
        """Input, transformations and outputs, each with its digest."""
        parts = [step.fingerprint_parts for step in self.plan.steps.values() if CONTENTS in step.fingerprint_parts]
        contents = parts[0][CONTENTS] if parts else None
        digest = next((outcome.dataset for outcome in self.outcomes.values() if outcome.dataset), None)
        return {
            "command": {"overrides": privacy.words_withheld(self.plan.overrides, self.config.columns.sensitive)},
            "store": tracking.address(),
            "input": {"source": self.raw_config["source"], "contents": contents, "digest": digest},
            "transformations": self.steps,
            "model_id": self.model_id,
            "output": self.outcomes[self.steps[-1]["stage"]].facts,
        }

    def _refuse_absent(self, columns: dict[str, str]) -> None:
        """Raises ConfigError for a slice by a column that is not there, before a model is trained."""
        for name in self.config.evaluation.slices:
            if name not in columns:
                hint = close(name, columns, f"; it has {', '.join(columns)}")
                raise ConfigError(f"evaluation.slices={name}: the table has no such column{hint}")

    def _run(self, step: Step) -> bool:
        """Runs a stage in an MLflow run of its own and keeps its result in the store.

        False where another process has done that by now.
        """
        stage, plan = step.stage, self.plan
        opened = next((each.facts["columns"] for each in self.outcomes.values() if each.dataset), None)
        if opened and "expectations" not in step.inputs:  # which say best what is wrong with other columns
            self._refuse_absent(opened)
        bound(self.config.model, name="model")  # a typo there is worth knowing before the table is read
        libraries = plan.code.libraries(plan.modules(stage, step.inputs))
        with self.store.draft(stage) as folder:
            if not plan.reason(step):
                return False
            _show(f"{stage:<9} ... ({step.reason})")
            tags = {"stage": stage, "stage.key": step.key, "reason": step.reason or ""}
            private = bool(self.config.columns.sensitive)
            tags["process"] = processes.this()
            with tracking.run(f"{stage}-{step.key[:8]}", tags=tags, nested=True, private=private) as run_id:
                inputs, module = self._inputs(step), plan.module(stage)
                function = plan.layout.load(module, module.rpartition(".")[2])
                try:
                    outcome = execute(function, self.store, inputs=inputs, seed=self.config.seed, libraries=libraries)
                except ProjectError as error:
                    _log_refused(error, folder, plan)
                    raise
                if not step.known_upfront:  # the table that was read tells such sources apart
                    step.key = self.store.keys[stage] = hashed([step.key, outcome.dataset])
                parts = plan.written(step.fingerprint_parts)
                about = {"run": run_id, "store": tracking.address(), "data": self.config.choices["data"]}
                first = self.store.commit(stage, outcome, fingerprint_parts=parts, **about)
                tracking.log_outcome(outcome, None)
                tracking.set_tags(provenance.threads())
                _log_members(outcome, tags["process"])
        return first

    def _inputs(self, step: Step) -> dict[str, Any]:
        """The arguments of a stage that is about to run, open sections as they stand in the config."""
        inputs = dict(step.inputs)
        if champion := inputs.get("champion"):
            inputs["champion"] = registry.version(self.config.registered_model, champion["version"])
        if "tags" in inputs:
            labels = _labels(self.config)
            for each in self.outcomes.values():
                labels |= {"algorithm": each.facts["estimator"]} if "estimator" in each.facts else {}
            inputs["tags"] = {name: self.plan.hide(value) for name, value in labels.items()}
        if "source" in inputs:  # the version that the key has, whatever is written meanwhile
            inputs["source"] = pinned(inputs["source"], step.fingerprint_parts.get(CONTENTS))
        if "workspace" in inputs:
            inputs["workspace"] = self.store.workspace_of(step.stage)
        autolog = tracking.autologged if self.config.tracking.autolog else nullcontext
        seams = {"model_id": self.model_id, "progress": tracking.log_progress, "autolog": autolog}
        return inputs | {name: value for name, value in seams.items() if name in inputs}

    def _log(self, stage: str, key: str, outcome: StageResult) -> None:
        """Logs the outcome of `stage` to the command's run, whether it was made in it or reused."""
        config = self.config
        name = f"{config.choices['model']}-{config.choices['data']}-{key[:8]}"
        if not self.model_id or outcome.model:  # the stages after it make no other model
            tracking.rename(config.tracking.run_name or name)
        if outcome.dataset:
            tracking.log_dataset(name=config.choices["data"], digest=outcome.dataset, source=self.raw_config["source"])
            if config.tracking.sample_rows:
                shown = self.store.table(stage).drop(config.columns.sensitive, strict=False)
                sample = shown.head(config.tracking.sample_rows).collect()
                tracking.log_texts({"sample.csv": sample.to_pandas().to_csv(index=False)})
        if outcome.model:
            tracking.set_tags({"algorithm": outcome.facts.get("estimator") or _labels(config)["algorithm"]})
            self.model_id = model_format.logged(
                self.store.path(stage) / "model", key=key, name=name, kind=config.task.kind, params=self.params
            )
        tracking.log_outcome(outcome, self.store.path(stage), at=stage, model_id=self.model_id)
        tracking.log_costs(outcome.facts.get("costs", {}), self.model_id)  # no scores: they differ from time to time


def _log_members(outcome: StageResult, process: str) -> None:
    """Logs what each member of an ensemble is worth alone, in a run of its own within that of the stage."""
    for member in outcome.facts.get("members", ()):
        with tracking.run(member["name"], tags={"member": member["name"], "process": process}, nested=True):
            tracking.log_params(member["params"])
            scores = {f"test_{name}": value for name, value in member["scores"].items()}
            tracking.log_outcome(StageResult(member["name"], scores=scores), None)


def _log_refused(error: ProjectError, folder: Path, plan: Plan) -> None:
    """Logs the result that an error brings along."""
    if error.outcome:
        write(folder, error.outcome)
        tracking.log_outcome(error.outcome, folder)
        plan.result.add(error.outcome)


def _close(notes: list[str], plan: Plan) -> None:
    """Prints the end of what people read: the notes, and where to look."""
    plan.result.notes += notes
    for note in notes:
        print(f"note: {note}")
    if not plan.result.look:
        return
    page = tracking.runs_page()
    print(f"look: {plan.result.look}" + (f", and all runs at {page}" if page else ""))


def _labels(config: Settings) -> dict[str, str]:
    """Tags by which runs and versions are looked for: of the configuration, of the CI, and the user's own."""
    own = {name: str(value) for name, value in config.tags.items() if value is not None and name != "required"}
    kind, chosen = config.task.kind, config.choices
    said = {"project": config.project, "dataset": chosen["data"], "model_name": config.registered_model}
    said |= {"model_type": kind, "task": chosen.get("task", kind), "environment": chosen["platform"]}
    said["algorithm"] = str(config.model.get("_target_", "")).rpartition(".")[2]
    return said | provenance.ci() | own


def _params(config: Settings) -> dict[str, str]:
    """What tells runs apart: the chosen options, and the values of the sections that decide a model."""
    params: dict[str, str] = {name: option for name, option in config.choices.items() if name != "experiment"}
    for name in ("model", "features", "split"):
        section = getattr(config, name, {})
        values = section if isinstance(section, dict) else vars(section)
        params |= {f"{name}.{key}": _short(value) for key, value in values.items() if value is not None}
    return params | {"seed": str(config.seed), "target": str(config.columns.target), "metric": config.task.metrics[0]}


def _short(value: Any) -> str:
    """A parameter as people read it: of a long list or mapping the beginning, config.json has the rest."""
    if len(text := str(value)) <= _LETTERS or not isinstance(value, dict | list):
        return text
    if isinstance(value, dict):
        return "{" + cut([f"{key!r}: {each!r}" for key, each in value.items()], _LETTERS) + "}"
    return f"[{cut([repr(each) for each in value], _LETTERS)}]"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _show(text: str) -> None:
    """Prints a stage's line; on a terminal its beginning stands there while the stage runs."""
    terminal = sys.stdout.isatty()
    if terminal or text.endswith("\n"):
        print(f"\r\033[K{text}" if terminal else text, end="", flush=True)
