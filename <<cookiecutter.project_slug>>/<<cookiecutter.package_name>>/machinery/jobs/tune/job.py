"""A search for better settings of a model by cross-validation on the training rows; writes a conf/experiment/ file."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ...config.compose import composed, groups
from ...errors import ConfigError, ProjectError
from ...evaluation import scoring
from ...evaluation.folds import NUMBER
from ...mlflow import tracking
from ...pipeline import processes
from ...pipeline.plan import hashed
from ...result import StageResult
from . import cross_validation, figures, optuna_study
from .candidates import current_value, with_values

if TYPE_CHECKING:
    from ...config.schema import Columns, Split, Task
    from ...layout import Layout
    from ...pipeline.code_fingerprint import CodeFingerprint
    from ...pipeline.store import Store
    from . import Tuning

MARK = "Written by `-e tune`"  # in a file that may be replaced
GRID = "grid"  # the sampler that tries all combinations
NOT_KEPT = ("tune", "platform")  # sections that do not decide a model


def tune(
    store: Store,
    *,
    tune: Tuning,
    split: Split,
    columns: Columns,
    task: Task,
    seed: int,
    choices: dict[str, str],
    raw_config: dict[str, Any],
    overrides: list[str],
    layout: Layout,
    code: CodeFingerprint,
    bring_up_to_date: Callable[[str], None],
) -> StageResult:
    """Scores `tune.trials` candidates, the current settings first, and writes the best settings to conf/experiment/.

    An earlier command of the same search that was cut short is continued. Raises ConfigError, before anything is run,
    for a task without a target, a space that cannot be searched, and a file that must not be replaced.
    """
    file = layout.conf / "experiment" / f"{tune.name}.yaml"
    _refuse(tune, task, columns.target, file, choices, overrides)
    metric = scoring.short(task.metrics[0])
    scoring.scorer(task.metrics[0])  # refuses an unknown one
    typed, space = composed(layout, overrides, "tune"), optuna_study.flatten(tune.space)
    distributions = optuna_study.distributions(space)
    settings = 1 + optuna_study.combinations(distributions) if tune.sampler == GRID else tune.trials
    tune = replace(tune, trials=min(tune.trials, settings))
    current, sections = {key: current_value(typed, key) for key in space}, with_values(layout, typed, {})
    for key, value in optuna_study.values_to_check(space):
        with_values(layout, typed, {key: value})
    source = layout.load("training", "TABLE")
    bring_up_to_date(source)
    cores, count, table = processes.cores(), tune.folds, store.path(source) / "table.parquet"
    fit = layout.load("training", "fit")
    make = partial(
        cross_validation.training_folds, table, fit=fit, split=split, columns=columns, count=count, seed=seed
    )
    rows = len(make().rows)  # refuses folds that cannot be made
    model, features, _ = sections
    decisive = [store.keys[source], model, features, replace(task, metrics=task.metrics[:1]), space]
    named = code.named([model, vars(features), task.metrics])
    modules = code.reachable(["training", *named, *layout.machinery("jobs.tune.job")])
    key = hashed(
        [*decisive, seed, count, tune.pruning, tune.sampler, {module: code.digest(module) for module in modules}]
    )
    tracking.set_tags({"key.tune": key})  # by which prune keeps it
    with store.workspace("tune", key) as folder:
        study = optuna_study.open_study(folder / "journal.jsonl", pruning=tune.pruning)
        private = bool(columns.sensitive)
        search = _Search(study, space, distributions, current, sections, typed, metric, seed, tune, private, layout)
        jobs = max(1, min(tune.jobs or cores, tune.trials - len(optuna_study.finished(study))))
        with cross_validation.worker_pool(make, jobs=jobs, cores=cores) as submit:
            search.run(submit, jobs)
        trials = optuna_study.finished(study)
        shares = optuna_study.importances(study, list(space))
    return _result(trials, shares, search, store, file, rows, _typed(layout, overrides, choices, raw_config))


@dataclass(eq=False)
class _Trial:
    """A trial that is being scored."""

    number: int
    in_study: Any  # optuna.Trial
    run: str  # id of its MLflow run
    values: dict[str, Any]  # {"model.C": 3.0}
    sections: cross_validation.Sections
    scores: list[float] = field(default_factory=list)
    epochs: list[list[float]] = field(default_factory=list)  # by fold, what was reached after each


@dataclass
class _Search:
    """The trials of one study, each in an MLflow run that is nested in the job's."""

    study: Any
    space: dict[str, Any]
    distributions: dict[str, Any]
    current: dict[str, Any]  # the values that the config has, by the keys of `space`
    sections: cross_validation.Sections  # of the config as it is
    typed: Any
    metric: str
    seed: int
    tune: Tuning
    private: bool  # errors are kept without values
    layout: Layout

    def run(self, submit: Callable[..., Future[Any]], jobs: int) -> None:
        """Scores trials, `jobs` at once, until tune.trials are finished or tune.timeout has passed."""
        end, total = time.monotonic() + (self.tune.timeout or float("inf")), self.tune.trials
        finished = optuna_study.finished(self.study)
        numbers = set(range(total)) - {each.user_attrs[optuna_study.NUMBER] for each in finished}
        left = sorted(numbers)[: total - len(finished)]
        pending: dict[Future[Any], _Trial] = {}
        running: set[_Trial] = set()
        with tqdm(total=total, initial=total - len(left), unit=" trials", disable=None) as bar:
            try:
                while True:
                    while left and len(running) < jobs and time.monotonic() < end:
                        running.add(trial := self._begin(left.pop(0)))
                        pending[self._submit(submit, trial)] = trial
                    if not running:
                        return
                    for future in wait(pending, return_when=FIRST_COMPLETED).done:
                        trial = pending.pop(future)
                        if not self._record(trial, future):
                            pending[self._submit(submit, trial)] = trial
                            continue
                        running.remove(trial)
                        bar.update()
                        self._show(bar)
            except BaseException as error:
                for trial in running:
                    with suppress(Exception):  # else the next command does it
                        cause = error if isinstance(error, Exception) and not trial.number else None
                        self._end(trial, "FAILED" if cause else "KILLED", "interrupted", cause)
                done = len(optuna_study.finished(self.study))
                kept = f"{done} of {total} trials are kept, and the same command goes on from there"
                if isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt(f"interrupted: {kept}") from None
                if isinstance(error, BrokenExecutor):
                    why = "a process that scored trials was killed, for want of memory, say: tune.jobs=1 takes least"
                    raise ProjectError(f"{why}; {kept}") from error
                raise

    def _begin(self, number: int) -> _Trial:
        """A new trial, in the study and as an MLflow run."""
        how: dict[str, Any] = {"seed": self.seed, "sampler": self.tune.sampler}
        in_study = optuna_study.new_trial(self.study, self.distributions, current=self.current, number=number, **how)
        values = optuna_study.from_params(self.space, in_study.params) if number else self.current
        tags = {"stage": "trial", "trial": str(number), "process": processes.this()}
        run = tracking.begin(f"trial-{number}", tags=tags)
        for name, value in ((optuna_study.NUMBER, number), (optuna_study.RUN, run)):
            in_study.set_user_attr(name, value)
        sections = with_values(self.layout, self.typed, values) if number else self.sections
        return _Trial(number, in_study, run, values, sections)

    def _submit(self, submit: Callable[..., Future[Any]], trial: _Trial) -> Future[Any]:
        """The future of the next fold of `trial`."""
        fold = len(trial.scores)
        return submit(fold, *trial.sections, optuna_study.least(self.study, fold) if self.tune.pruning else ())

    def _record(self, trial: _Trial, future: Future[Any]) -> bool:
        """Adds the score of one more fold to `trial`; whether it has ended: scored on all folds, pruned or failed."""
        try:
            score, epochs = future.result()
        except Exception as error:
            if isinstance(error, BrokenExecutor) or not trial.number:  # where the current settings fail, all will
                raise
            self._end(trial, "FAILED", "failed", error)
            return True
        trial.epochs.append(epochs)
        if score is not None:
            trial.scores.append(score)
            trial.in_study.report(float(np.mean(trial.scores)), step=len(trial.scores))
        if len(trial.scores) == self.tune.folds:
            self._end(trial, "FINISHED", "complete")
        elif score is None or trial.in_study.should_prune():
            self._end(trial, "KILLED", "pruned")
        else:
            return False
        return True

    def _end(self, trial: _Trial, status: str, state: str, error: Exception | None = None) -> None:
        """Ends a trial in MLflow, then in the study, which does not count an interrupted one."""
        mean, spread = (float(call(trial.scores or [0])) for call in (np.mean, np.std))
        scores = {f"cv_{self.metric}": mean, f"cv_{self.metric}_std": spread} if state == "complete" else {}
        params, curves = {name: str(each) for name, each in trial.values.items()}, {f"fold_{self.metric}": trial.scores}
        how: dict[str, Any] = {"tags": {"trial.state": state}, "error": error, "private": self.private}
        tracking.end(trial.run, status, params=params, scores=scores, curves=curves, **how)
        if state != "interrupted":
            trial.in_study.set_user_attr(optuna_study.SCORES, trial.scores)
            trial.in_study.set_user_attr(optuna_study.EPOCHS, trial.epochs)
            if error:
                trial.in_study.set_user_attr(optuna_study.CAUSE, tracking.sentence_of(error, self.private))
        self.study.tell(trial.in_study, mean if scores else None, state=optuna_study.STATES[state])

    def _show(self, bar: Any) -> None:
        """The best score so far, at the progress bar; without a terminal, a line from time to time."""
        trials = optuna_study.finished(self.study)
        if best := optuna_study.best(trials):
            score = f"best {self.metric} {best.value:.4f} (trial {best.user_attrs[optuna_study.NUMBER]})"
            bar.set_postfix_str(score)
            if bar.disable and len(trials) % max(1, self.tune.trials // 5) == 0:
                print(f"{'':<9} {len(trials)} of {self.tune.trials} trials: {score}", flush=True)


def _refuse(
    tune: Tuning, task: Task, target: str | None, file: Path, choices: dict[str, str], overrides: list[str]
) -> None:
    """Raises ConfigError for a search that makes no sense, or whose result could not be written."""
    if target is None:
        raise ConfigError("columns.target=null: there is nothing to score the settings by")
    if "task.transform" in optuna_study.flatten(tune.space) and task.kind != "regression":
        raise ConfigError(f"tune.space.task.transform is for regression, not for {task.kind}")
    if tune.sampler not in (samplers := [*optuna_study.SAMPLERS, GRID]):
        raise ConfigError(f"tune.sampler={tune.sampler}: it is {', '.join(samplers)}")
    for name, least in {"trials": 1, "folds": 2, "jobs": 1, "timeout": 1}.items():
        if (count := getattr(tune, name)) is not None and count < least:
            raise ConfigError(f"tune.{name}={count:g}: it is {least} or more")
    if not re.fullmatch(r"\w[\w\-]*", tune.name):
        raise ConfigError(f"tune.name={tune.name}: the file in conf/experiment/ has a name of letters, digits, _ and -")
    if choices.get("experiment") == tune.name:
        raise ConfigError(f"experiment={tune.name} is the file that would be written: tune.name=... names another")
    if file.exists() and MARK not in file.read_text(encoding="utf-8") and not tune.force:
        way_out = "tune.name=... names another, tune.force=true replaces it"
        raise ConfigError(f"conf/experiment/{file.name} is there, and tune has not written it: {way_out}")
    replaced = [word.removeprefix("++").partition("=")[0] for word in overrides if word.startswith("++")]
    for word in overrides:
        if word.startswith("~") and word[1:] not in replaced:
            raise ConfigError(f"{word}: a file in conf/experiment/ cannot take a key away")


def _typed(
    layout: Layout, overrides: list[str], choices: dict[str, str], raw_config: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The defaults and the settings of a file in conf/experiment/ that repeat the typed words, `overrides`."""
    settings: dict[str, Any] = {}
    known_groups, chosen = groups(layout), {name: choices[name] for name in ("model", "data")}
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key.partition(".")[0] in NOT_KEPT or key == "experiment" or word.startswith("~"):
            continue
        if key in known_groups:
            chosen[key] = choices[key]
        elif f"~{key}" in overrides:  # a mapping that replaces another: written as YAML, the two would be merged
            settings[key] = f"${{oc.create:{value}}}"
        else:
            settings[key] = reduce(lambda section, name: section[name], key.split("."), raw_config)
    first = [choices["experiment"]] if "experiment" in choices else []
    return [*first, *({f"override /{group}": option} for group, option in chosen.items())], settings


def _result(
    trials: list[Any],
    shares: dict[str, float],
    search: _Search,
    store: Store,
    file: Path,
    rows: int,
    typed: tuple[list[Any], dict[str, Any]],
) -> StageResult:
    """Writes the best trial's settings to `file`; the stage's result, with figures and the table of all trials."""
    tune, metric, best = search.tune, search.metric, optuna_study.best(trials)
    assert best is not None  # the first was scored
    number, spread = best.user_attrs[optuna_study.NUMBER], float(np.std(best.user_attrs[optuna_study.SCORES]))
    values = optuna_study.from_params(search.space, best.params) if number else {}
    score, before = float(best.value or 0), float(trials[0].value or 0)
    in_folds = f"{metric} {score:.4f} (deviation {spread:.4f}) in {tune.folds} folds of {rows:,} training rows"
    states = Counter(each.state.name.lower() for each in trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    run = best.user_attrs[optuna_study.RUN]
    comments = [
        f"{MARK}: {in_folds},",
        f"{before:.4f} before; trial {number} of {len(trials)} ({counts}), MLflow run {run}.",
    ]
    defaults, settings = typed
    text = optuna_study.experiment_file(comments, defaults=defaults, settings={**settings, **values})
    store.replace(file, text)
    tracking.log_params({f"tune.{name}": str(value) for name, value in vars(tune).items() if name != "space"})
    tracking.log_params({f"best.{name}": str(value) for name, value in (values or search.current).items()})
    if not number:
        counts += "; nothing that was tried is better"
    changed = {name: value for name, value in values.items() if value != search.current[name]}
    changes = "".join(f"\n  {name:<40} {search.current[name]} -> {value}" for name, value in changed.items())
    complete = [each.value if each.state.name == "COMPLETE" else None for each in trials]
    pruned = [optuna_study.pruned_estimate(each, trials[0]) for each in trials]
    drawn = {"trials": figures.trial_scores(complete, pruned, metric=metric)}
    if shares:
        drawn["importances"] = figures.parameter_importances(shares, metric=metric)
    return StageResult(
        f"tune      {in_folds}, {before:.4f} before: trial {number} of {len(trials)} ({counts}){changes}\n"
        f"wrote conf/experiment/{file.name}\n"
        f"  uv run mlflow run . --env-manager local -P experiment={tune.name}",
        scores={f"cv_{metric}": score, f"cv_{metric}_before": before, "trials": len(trials)},
        tags={"experiment": tune.name, "best": run},
        figures=drawn,
        tables={"trials": optuna_study.trials_table(trials, search.space, current=search.current, metric=metric)},
        texts={f"{file.name}.txt": text},
        notes=_notes(trials, tune, search.sections[2].threshold) + _left(search),
    )


def _notes(trials: list[Any], tune: Tuning, threshold: str | None) -> list[str]:
    """Sentences on failed trials, a threshold that trials do not choose, and time that ran out."""
    causes = [each.user_attrs[optuna_study.CAUSE] for each in trials if optuna_study.CAUSE in each.user_attrs]
    notes = [f"{len(causes)} trials failed, the last: {causes[-1]}"] if causes else []
    if threshold and not re.fullmatch(NUMBER, threshold):
        notes.append(f"task.threshold={threshold} is chosen on validation rows: trials answer from 0.5 on")
    if len(trials) < tune.trials:
        made = f"{len(trials)} of {tune.trials} trials were made"
        notes.append(f"tune.timeout={tune.timeout:g}: {made}; once more goes on")
    return notes


def _left(search: _Search) -> list[str]:
    """A sentence on how much of a grid was not tried."""
    count = optuna_study.combinations(search.distributions)
    if search.tune.sampler != GRID or count < search.tune.trials:
        return []
    tried = f"{search.tune.trials - 1:,} of {count:,} combinations"
    return [f"tune.sampler=grid: {tried} were tried, from everywhere; tune.trials={count + 1} tries all"]
