"""The order of the stages, each reused or run; an MLflow run for the whole, and one nested in it for each that runs."""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from . import modules, registry, seeds, sources, tracking
from .config import ROOT, Config, bound
from .errors import Refused
from .outcomes import Outcome
from .store import Store, write

LINE = ("ingest", "validate", "split", "train", "evaluate", "register")
OPEN = ("source", "model")  # sections of `_target_` and its arguments: a stage gets the call that they describe
ALWAYS = ("register",)  # looks at the registry, which no key covers


def run(word: str, config: Config, stated: dict[str, Any]) -> None:
    """Brings the stage `word`, and all that stand before it, up to date.

    `stated`: the config as conf/ has it, interpolations unresolved; that is what is logged.
    """
    model, data = config.choices["model"], config.choices["data"]
    about = f"{model} predicting {config.columns.target or 'anomalies'} of {data}. {config.description}"
    with _tracked(word, f"{model}-{data}", about, config, stated) as notes:
        tracking.log_params(_params(config))
        line = Line(config, stated)
        for stage in LINE[: LINE.index(word) + 1]:
            line.bring_up_to_date(stage)
        tracking.log_texts({"lineage.json": _json(line.lineage())})
        _report(line.outcomes, notes)


def run_job(word: str, config: Config, stated: dict[str, Any]) -> None:
    """Runs the job `word`: a function that takes sections of the config by its arguments, as a stage does."""
    with _tracked(word, f"{word}-{config.choices['data']}", config.description, config, stated) as notes:
        seeds.plant(config.seed)
        store = Store(Path(config.platform.outputs))
        store.keys[word] = _hash([time.time_ns()])
        module = f"jobs.{word}"
        sees = {name: stated if name == "stated" else getattr(config, name) for name in modules.arguments(module)}
        with store.draft(word) as folder:
            outcome = _function(module)(store, **sees)
            write(folder, outcome)
            tracking.log_outcome(outcome, folder)
        print(outcome.summary)
        _notes([*outcome.notes, *notes])


@contextmanager
def _tracked(word: str, name: str, about: str, config: Config, stated: dict[str, Any]) -> Iterator[list[str]]:
    """An MLflow run of a command; gives what is worth noting of where it is. Whatever is raised becomes Refused."""
    notes = tracking.connect(project=config.project, server=config.platform.server)
    if config.tracking.autolog:
        tracking.autolog()
    tags = {"stage": word, "seed": str(config.seed), **tracking.git(ROOT), **tracking.versions()}
    tags |= {name: value for name, value in config.tags.items() if value is not None}
    private = bool(config.columns.sensitive)
    metrics = config.tracking.system_metrics
    try:
        with tracking.run(name, tags=tags, description=about, system_metrics=metrics, private=private):
            tracking.log_texts({"config.json": _json(stated)})
            yield notes
    except Refused as error:
        raise Refused(error.told(private)) from error
    except Exception as error:  # a defect: the run has the traceback
        reason = "its text is withheld (columns.sensitive)" if private else " ".join(str(error).split())
        raise Refused(f"{type(error).__name__}: {reason}; traceback.txt of the run tells where") from error


class Line:
    """The stages brought up to date so far, and so what the next one starts from."""

    def __init__(self, config: Config, stated: dict[str, Any]) -> None:
        self.config, self.stated = config, stated
        self.store = Store(Path(config.platform.outputs))
        self.outcomes: dict[str, Outcome] = {}
        self.steps: list[dict[str, Any]] = []  # the lineage, a stage each
        self.previous = ""  # what the next stage's key rests on
        self.model_id = ""

    def bring_up_to_date(self, stage: str) -> None:
        """Runs `stage`, or reuses what it gave under the same key, and logs that to the parent run."""
        began = time.monotonic()
        _show(f"{stage:<9} ...")
        sees = {name: self._section(name) for name in modules.arguments(f"stages.{stage}")}
        contents = sources.fingerprint(self.config.source) if "source" in sees else ""
        key = self.store.keys[stage] = self._key(stage, sees, contents)
        reused = self.config.reuse and stage not in ALWAYS and contents is not None and self.store.intact(stage)
        outcome = self.store.outcome(stage) if reused else self._run(stage, sees)
        # a source that cannot be fingerprinted beforehand is told apart by what was read from it
        self.previous = key if contents is not None else _hash([key, outcome.facts["digest"]])
        self.outcomes[stage] = outcome
        self.steps.append({"stage": stage, "key": key, "reused": reused, "files": self.store.files(stage)})
        self._log(stage, key, outcome)
        _show(f"{stage:<9} {outcome.summary} ({'reused' if reused else f'{time.monotonic() - began:.1f} s'})\n")

    def lineage(self) -> dict[str, Any]:
        """Input, transformations and outputs, each with its digest."""
        source = {"source": self.stated["source"], "digest": self.outcomes["ingest"].facts["digest"]}
        return {"input": source, "transformations": self.steps, "output": self.outcomes[self.steps[-1]["stage"]].facts}

    def _section(self, name: str) -> Any:
        """What a stage sees by the argument `name`: a section of the config, or something outside of it."""
        if name == "champion":
            return registry.with_alias(self.config.registered_model, "champion")
        return self.model_id if name == "model_id" else getattr(self.config, name)

    def _key(self, stage: str, sees: dict[str, Any], contents: str | None) -> str:
        """A hash of all that decides what `stage` gives: what it rests on and sees, its code, the lock, Python."""
        code = self._modules(stage, sees)
        lock = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
        plain = {name: vars(value) if is_dataclass(value) else value for name, value in sees.items()}
        return _hash(
            [self.previous, stage, plain, contents, modules.digest(code), lock, platform.python_version_tuple()[:2]]
        )

    def _run(self, stage: str, sees: dict[str, Any]) -> Outcome:
        """What `stage` gives, run in an MLflow run of its own and kept in the store."""
        calls = {name: bound(sees[name], name=name) for name in sees if name in OPEN}
        bound(self.config.model, name="model")  # a typo there is worth knowing before the table is read
        seeds.plant(self.config.seed, libraries=modules.libraries(self._modules(stage, sees)))
        key = self.store.keys[stage]
        with tracking.run(
            f"{stage}-{key[:8]}",
            tags={"stage": stage, "stage.key": key},
            nested=True,
            private=bool(self.config.columns.sensitive),
        ):
            with self.store.draft(stage) as folder:
                try:
                    outcome = _function(f"stages.{stage}")(self.store, **{**sees, **calls})
                except Refused as error:
                    if error.outcome:
                        write(folder, error.outcome)
                        tracking.log_outcome(error.outcome, folder, at="")
                    raise
                self.store.keep(stage, outcome)
            tracking.log_outcome(outcome, None)
        return outcome

    def _log(self, stage: str, key: str, outcome: Outcome) -> None:
        """Puts the outcome of `stage` on the parent run, whether it was made in it or reused."""
        config = self.config
        name = f"{config.choices['model']}-{config.choices['data']}-{key[:8]}"
        if stage in LINE[: LINE.index("train") + 1]:  # the stages after it make no other model
            tracking.rename(name)
        if stage == "ingest":
            tracking.log_dataset(
                name=config.choices["data"], digest=outcome.facts["digest"], source=self.stated["source"]
            )
            if config.tracking.sample_rows:
                shown = self.store.table(stage).drop(config.columns.sensitive, strict=False)
                sample = shown.head(config.tracking.sample_rows).collect()
                tracking.log_texts({"sample.csv": sample.to_pandas().to_csv(index=False)})
        if stage == "train":
            self.model_id = registry.logged(
                self.store.path("train") / "model", key=key, name=name, kind=config.task.kind, params=_params(config)
            )
        tracking.log_outcome(outcome, self.store.path(stage), at=stage, model_id=self.model_id)

    def _modules(self, stage: str, sees: dict[str, Any]) -> list[str]:
        """The modules that `stage` can reach, through its own imports or a `_target_` of this package."""
        targets = [sees[name].get("_target_", "") for name in sees if name in OPEN]
        own = [
            target.removeprefix(f"{__package__}.").rpartition(".")[0]
            for target in targets
            if target.startswith(f"{__package__}.")
        ]
        return sorted({name for start in [f"stages.{stage}", *own] for name in modules.reachable(start)})


def _function(module: str) -> Callable[..., Outcome]:
    """The function of a stage's or job's module. What it imports is imported here, with the collector off: looking for
    garbage among what stays anyway cost a third of the start-up (measured)."""
    gc.disable()
    try:
        return getattr(import_module(f".{module}", __package__), module.rpartition(".")[2])
    finally:
        gc.freeze()
        gc.enable()


def _report(outcomes: dict[str, Outcome], notes: list[str]) -> None:
    """The end of what people read: scores, verdicts, the registered version, where to look."""
    evaluated = outcomes["evaluate"].facts if "evaluate" in outcomes else {}
    shown = {"test": "candidate", "champion": "champion", "baseline": "baseline"}
    if evaluated.get("compared_rows") != evaluated.get("rows"):
        del shown["champion"]  # its scores are of other rows; the gate's sentence and a note say which
    columns = [name for name in shown if name in evaluated]
    if columns:
        print("\n" + " " * 32 + "".join(f"{shown[name]:>12}" for name in columns))
        for metric in evaluated["test"]:
            print(f"  {metric:<30}" + "".join(f"{_figure(evaluated[name][metric]):>12}" for name in columns))
    if "register" in outcomes:
        registered = outcomes["register"].facts
        gate = f"gate {registered['verdict']}: "
        print("\n" + gate + f"\n{' ' * len(gate)}".join(registered["reasons"]))
        print(f"{registered['name']} version {registered['version']} is {registered['alias']}")
    _notes([*(note for outcome in outcomes.values() for note in outcome.notes), *notes])


def _figure(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10_000 else f"{score:.4g}"


def _notes(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {note}")
    print(f"look: {tracking.look()}")


def _params(config: Config) -> dict[str, str]:
    """What tells runs apart: the chosen options, and the values of the sections that decide a model."""
    params: dict[str, str] = {name: option for name, option in config.choices.items() if name != "experiment"}
    for name, section in {
        "model": config.model,
        "features": vars(config.features),
        "split": vars(config.split),
    }.items():
        params |= {f"{name}.{key}": str(value) for key, value in section.items() if value is not None}
    return params | {"seed": str(config.seed), "target": str(config.columns.target), "metric": config.task.metrics[0]}


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _show(text: str) -> None:
    """Prints a stage's line; on a terminal its beginning stands there while the stage runs."""
    terminal = sys.stdout.isatty()
    if terminal or text.endswith("\n"):
        print(f"\r\033[K{text}" if terminal else text, end="", flush=True)
