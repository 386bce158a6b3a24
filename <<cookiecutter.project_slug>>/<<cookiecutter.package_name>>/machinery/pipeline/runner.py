"""A plan carried out: each stage reused, or run in an MLflow run that is nested in the command's."""

from __future__ import annotations

import difflib
import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import credentials
from ..config.binding import bound
from ..config.schema import Settings
from ..errors import ProjectError, sentences
from ..mlflow import model_format, registry, tracking
from ..result import StageResult
from . import provenance, seeds
from .plan import CONTENTS, OPEN, Plan, Step, hashed
from .store import write

UNLOCKED = (
    "{0} is not in the lock: where it is not installed, this model cannot be loaded; `uv add {0}` and `make lock` "
    "put it there"
)


def run(word: str, plan: Plan) -> int:
    """Brings the stage `word`, and all that stand before it, up to date; gives the exit code."""
    config = plan.config
    model, data = config.choices["model"], config.choices["data"]
    about = f"{model} predicting {config.columns.target or 'anomalies'} of {data}. {config.description}"
    with _tracked(word, f"{model}-{data}", about, plan) as notes:
        line = PipelineRun(plan)
        tracking.log_params(line.params)
        for stage in plan.up_to(word):
            line.bring_up_to_date(stage)
        tracking.log_texts({"lineage.json": _json(line.lineage())})
        line.link(about)
        extras = plan.unlocked()
        tracking.set_tags({f"version.{name}": number for name, number in extras.items()})
        notes += [UNLOCKED.format(name) for name in extras]
        _close(line.outcomes, notes)
    plan.notice(word)
    return 0


def run_job(word: str, plan: Plan, began: float) -> int:
    """The exit code of the job `word`: a function that takes sections of the config by its arguments, as a stage does.

    It may take `raw_config`, the config as written, the `overrides` typed, when the command `began` (seconds since
    1970),
    and `bring_up_to_date`, which does that to the stages up to the one that it is given, too.
    """
    config, raw_config, name = plan.config, plan.raw_config, f"{word}-{plan.config.choices['data']}"

    def bring_up_to_date(last: str) -> None:
        line = PipelineRun(plan)
        tracking.log_params(line.params)
        for stage in plan.up_to(last):
            line.bring_up_to_date(stage)
        line.link(config.description)
        tracking.rename(name)  # not after what the stages gave

    with _tracked(word, name, config.description, plan) as notes:
        store = plan.store
        seeds.plant(config.seed)
        store.keys[word] = hashed([time.time_ns(), os.getpid()])
        known = {
            **vars(config),
            "raw_config": raw_config,
            "overrides": plan.overrides,
            "began": began,
            "progress": tracking.log_progress,
            "layout": plan.layout,
        }
        known["bring_up_to_date"] = bring_up_to_date
        inputs = {name: known[name] for name in plan.layout.fingerprint.arguments(plan.layout.module(word))}
        with store.draft(word) as folder:
            try:
                with sentences():
                    outcome = plan.layout.function(word)(store, **inputs)
            except ProjectError as error:
                _log_refused(error, folder)
                raise
            write(folder, outcome)
            tracking.log_outcome(outcome, folder)
            tracking.set_tags({"mlflow.note.content": outcome.summary})
        print(outcome.summary)
        _notes([*outcome.notes, *notes])
    return outcome.code


@contextmanager
def _tracked(word: str, name: str, about: str, plan: Plan) -> Iterator[list[str]]:
    """An MLflow run of a command; gives what is worth noting of where it is. Whatever is raised becomes
    ProjectError."""
    gc.freeze()  # all that is imported by now stays
    gc.enable()
    config, raw_config, root = plan.config, plan.raw_config, plan.layout.root
    server, private = config.platform.server, bool(config.columns.sensitive)
    hide = functools.partial(credentials.hide, values=credentials.hidden(raw_config))
    notes = tracking.connect(project=config.project, server=server, hide=hide)
    if config.tracking.autolog:
        tracking.autolog()
    tags = {
        "stage": word,
        "seed": str(config.seed),
        "lock": provenance.lock(root),
        **provenance.tree(root),
        **provenance.about(),
        **tracking.versions(),
    }
    tags |= {name: value for name, value in config.tags.items() if value is not None}
    metrics = config.tracking.system_metrics
    try:
        with tracking.run(name, tags=tags, description=about, system_metrics=metrics, private=private):
            tracking.end_orphaned_runs(provenance.dead)
            tracking.log_texts({"config.json": _json(raw_config)})
            tracking.log_texts(provenance.changes(root, secret=functools.partial(_secret, hide=hide)))
            yield notes
    except Exception as error:
        raise ProjectError(tracking.told(error, private)) from error


def _secret(text: str, *, hide: Callable[[str], str]) -> str | None:
    """What must not be told of `text`."""
    return credentials.found(text) or ("a value of the environment" if hide(text) != text else None)


class PipelineRun:
    """The stages brought up to date so far, and so what the next one starts from."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.config, self.raw_config, self.store = plan, plan.config, plan.raw_config, plan.store
        self.params = {name: credentials.hide(value, plan.hidden) for name, value in _params(plan.config).items()}
        self.outcomes: dict[str, StageResult] = {}
        self.steps: list[dict[str, Any]] = []  # the lineage, a stage each
        self.reused: dict[str, str] = {}  # the runs that made what is used again, by stage
        self.model_id = ""

    def bring_up_to_date(self, stage: str) -> None:
        """Runs `stage`, or reuses what it gave under the same key, and logs that to the parent run."""
        began = time.monotonic()
        _show(f"{stage:<9} ...")
        step = self.plan.step(stage)
        reused = not step.reason or not self._run(step)
        record, outcome = self.store.record(stage), self.store.outcome(stage)
        if reused:
            self.reused[stage] = record["run"]
        self.outcomes[stage] = outcome
        told = {name: record[name] for name in ("stage", "key", "run", "files")}
        self.steps.append(
            {**told, "reused": reused, "facts": outcome.facts, "scores": outcome.scores, "model": outcome.model}
        )
        self._log(stage, step.key, outcome)
        how = f"reused from run {record['run'][:8]}" if reused else f"{time.monotonic() - began:.1f} s, {step.reason}"
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
            "command": {"overrides": self.plan.overrides},
            "input": {"source": self.raw_config["source"], "contents": contents, "digest": digest},
            "transformations": self.steps,
            "model_id": self.model_id,
            "output": self.outcomes[self.steps[-1]["stage"]].facts,
        }

    def _refuse_absent(self, known: dict[str, str]) -> None:
        """Raises ProjectError for a slice by a column that is not there: before a model is trained that cannot be
        judged."""
        for name in self.config.evaluation.slices:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
                raise ProjectError(f"evaluation.slices={name}: the table has no such column{hint}")

    def _run(self, step: Step) -> bool:
        """Runs a stage in an MLflow run of its own and keeps what it gives in the store.

        False where another process has just done that, for which this one has waited.
        """
        stage, inputs = step.stage, self._inputs(step)
        if "model" in inputs:  # not earlier: a delivery of other columns is best told by its expectations
            self._refuse_absent(next(each.facts["columns"] for each in self.outcomes.values() if each.dataset))
        bound(self.config.model, name="model")  # a typo there is worth knowing before the table is read
        code = self.plan.layout.fingerprint
        named = [self.config.source.get("_target_", ""), self.config.model.get("_target_", "")]
        seeds.plant(
            self.config.seed,
            libraries=code.libraries(code.reachable([self.plan.layout.module(stage), *code.named(named)])),
        )
        with self.store.draft(stage) as folder:
            if not self.plan.reason(step):
                return False
            _show(f"{stage:<9} ... ({step.reason})")
            tags = {"stage": stage, "stage.key": step.key, "reason": step.reason or ""}
            private = bool(self.config.columns.sensitive)
            tags["process"] = provenance.process()
            with tracking.run(f"{stage}-{step.key[:8]}", tags=tags, nested=True, private=private) as run_id:
                try:
                    with sentences():
                        outcome = self.plan.layout.function(stage)(self.store, **inputs)
                except ProjectError as error:
                    _log_refused(error, folder)
                    raise
                if not step.known_upfront:  # such a source is told apart by what was read from it
                    step.key = self.store.keys[stage] = hashed([step.key, outcome.dataset])
                self.store.commit(stage, outcome, run=run_id, fingerprint_parts=self.plan.told(step.fingerprint_parts))
                tracking.log_outcome(outcome, None)
                tracking.set_tags(provenance.threads())
                _log_members(outcome, tags["process"])
        return True

    def _inputs(self, step: Step) -> dict[str, Any]:
        """The arguments of a stage, now that it runs: open sections as the calls that they describe."""
        hide, inputs = functools.partial(credentials.hide, values=self.plan.hidden), dict(step.inputs)
        inputs |= {name: bound(value, name=name) for name, value in inputs.items() if name in OPEN}
        if champion := inputs.get("champion"):
            inputs["champion"] = registry.version(self.config.registered_model, champion["version"])
        if "tags" in inputs:
            inputs["tags"] = {name: value and hide(value) for name, value in inputs["tags"].items()}
        if "workspace" in inputs:
            inputs["workspace"] = self.store.workspace_of(step.stage)
        seams = {"model_id": self.model_id, "progress": tracking.log_progress}
        return inputs | {name: value for name, value in seams.items() if name in inputs}

    def _log(self, stage: str, key: str, outcome: StageResult) -> None:
        """Puts the outcome of `stage` on the parent run, whether it was made in it or reused."""
        config = self.config
        name = f"{config.choices['model']}-{config.choices['data']}-{key[:8]}"
        if not self.model_id or outcome.model:  # the stages after it make no other model
            tracking.rename(name)
        if outcome.dataset:
            tracking.log_dataset(name=config.choices["data"], digest=outcome.dataset, source=self.raw_config["source"])
            if config.tracking.sample_rows:
                shown = self.store.table(stage).drop(config.columns.sensitive, strict=False)
                sample = shown.head(config.tracking.sample_rows).collect()
                tracking.log_texts({"sample.csv": sample.to_pandas().to_csv(index=False)})
        if outcome.model:
            self.model_id = model_format.logged(
                self.store.path(stage) / "model", key=key, name=name, kind=config.task.kind, params=self.params
            )
        tracking.log_outcome(outcome, self.store.path(stage), at=stage, model_id=self.model_id)


def _log_members(outcome: StageResult, process: str) -> None:
    """Logs what each member of an ensemble is worth alone, in a run of its own within that of the stage."""
    for member in outcome.facts.get("members", ()):
        with tracking.run(member["name"], tags={"member": member["name"], "process": process}, nested=True):
            tracking.log_params(member["params"])
            scores = {f"test_{name}": value for name, value in member["scores"].items()}
            tracking.log_outcome(StageResult(member["name"], scores=scores), None)


def _log_refused(error: ProjectError, folder: Path) -> None:
    """Logs what there is to look at all the same."""
    if error.outcome:
        write(folder, error.outcome)
        tracking.log_outcome(error.outcome, folder)


def _close(outcomes: dict[str, StageResult], notes: list[str]) -> None:
    """The end of what people read: what each stage has to say there, and where to look."""
    print(*(f"\n{outcome.closing}" for outcome in outcomes.values() if outcome.closing), sep="\n")
    _notes([*(note for outcome in outcomes.values() for note in outcome.notes), *notes])


def _notes(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {note}")
    print(f"look: {tracking.ui_hint()}")


def _params(config: Settings) -> dict[str, str]:
    """What tells runs apart: the chosen options, and the values of the sections that decide a model."""
    params: dict[str, str] = {name: option for name, option in config.choices.items() if name != "experiment"}
    for name in ("model", "features", "split"):
        section = getattr(config, name, {})
        values = section if isinstance(section, dict) else vars(section)
        params |= {f"{name}.{key}": str(value) for key, value in values.items() if value is not None}
    return params | {"seed": str(config.seed), "target": str(config.columns.target), "metric": config.task.metrics[0]}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _show(text: str) -> None:
    """Prints a stage's line; on a terminal its beginning stands there while the stage runs."""
    terminal = sys.stdout.isatty()
    if terminal or text.endswith("\n"):
        print(f"\r\033[K{text}" if terminal else text, end="", flush=True)
