"""Better settings of a model, looked for by cross-validation on the training rows, and written to conf/experiment/."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ...config.compose import composed, groups
from ...errors import ProjectError
from ...evaluation import scoring
from ...mlflow import tracking
from ...pipeline import processes
from ...pipeline.plan import hashed
from ...result import StageResult
from . import cross_validation, optuna_study, search_figures
from .candidates import present, varied

if TYPE_CHECKING:
    from ...config.schema import Columns, Split, Task
    from ...layout import Layout
    from ...pipeline.code_fingerprint import CodeFingerprint
    from ...pipeline.store import Store
    from . import Tuning

MINE = "Written by `-e tune`"
ELSEWHERE = ("tune", "platform")  # what is typed of these does not decide a model


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
    """Scores `tune.trials` candidates, the present settings first, and writes the best one's to a file.

    Goes on where an earlier command of the same search was cut short. Raises ProjectError, before anything is run, for
    a
    task that has nothing to score by, and for a space or a file that is not as it has to be.
    """
    file = layout.conf / "experiment" / f"{tune.name}.yaml"
    _refuse(tune, task, columns.target, file, choices, overrides)
    metric = scoring.short(task.metrics[0])
    scoring.scorer(task.metrics[0])  # one that is not known is refused here
    typed, space = composed(layout, overrides, "tune"), optuna_study.flat(tune.space)
    among = optuna_study.distributions(space)
    now, untouched = {key: present(typed, key) for key in space}, varied(layout, typed, {})
    for key, value in optuna_study.ends(space):
        varied(layout, typed, {key: value})
    source = layout.load("training", "TABLE")
    bring_up_to_date(source)
    cores, count, table = processes.cores(), tune.folds, store.path(source) / "table.parquet"
    fit = layout.load("training", "fit")
    make = partial(cross_validation.Folds, table, fit=fit, split=split, columns=columns, count=count, seed=seed)
    rows = len(make().rows)  # folds that cannot be are refused here
    model, features, _ = untouched
    decisive = [store.keys[source], model, features, replace(task, metrics=task.metrics[:1]), space]
    named = code.named([model, vars(features), task.metrics])
    modules = code.reachable(["training", *named, *layout.machinery("jobs.tune.job")])
    key = hashed([*decisive, seed, count, tune.pruning, {module: code.digest(module) for module in modules}])
    tracking.set_tags({"key.tune": key})  # what prune keeps it by
    with store.workspace("tune", key) as folder:
        study = optuna_study.opened(folder / "journal.jsonl", pruning=tune.pruning)
        search = _Search(
            study, space, among, now, untouched, typed, metric, seed, tune, bool(columns.sensitive), layout
        )
        jobs = max(1, min(tune.jobs or cores, tune.trials - len(optuna_study.ended(study))))
        with cross_validation.worker_pool(make, jobs=jobs, cores=cores) as submit:
            search.go_on(submit, jobs)
        over = optuna_study.ended(study)
        shares = optuna_study.importances(study, list(space))
    return _outcome(over, shares, search, store, file, rows, _typed(layout, overrides, choices, raw_config))


@dataclass(eq=False)
class _Trial:
    """One that is under way."""

    number: int
    asked: Any  # Optuna's
    run: str
    values: dict[str, Any]
    sections: cross_validation.Sections
    scores: list[float] = field(default_factory=list)


@dataclass
class _Search:
    """The trials of one study, each in an MLflow run that is nested in the job's."""

    study: Any
    space: dict[str, Any]
    among: dict[str, Any]
    now: dict[str, Any]  # the present values of what is tried
    untouched: cross_validation.Sections
    typed: Any
    metric: str
    seed: int
    tune: Tuning
    private: bool
    layout: Layout

    def go_on(self, submit: Callable[..., Future[float]], jobs: int) -> None:
        """Scores trials, `jobs` at once, until there are as many as are asked for, or no time is left."""
        end, total = time.monotonic() + (self.tune.timeout or float("inf")), self.tune.trials
        over = optuna_study.ended(self.study)
        left = sorted(set(range(total)) - {each.user_attrs[optuna_study.NUMBER] for each in over})[: total - len(over)]
        asked: dict[Future[float], _Trial] = {}
        begun: set[_Trial] = set()
        with tqdm(total=total, initial=total - len(left), unit=" trials", disable=None) as bar:
            try:
                while True:
                    while left and len(begun) < jobs and time.monotonic() < end:
                        begun.add(trial := self._begin(left.pop(0)))
                        asked[submit(0, *trial.sections)] = trial
                    if not begun:
                        return
                    for future in wait(asked, return_when=FIRST_COMPLETED).done:
                        trial = asked.pop(future)
                        if not self._scored(trial, future):
                            asked[submit(len(trial.scores), *trial.sections)] = trial
                            continue
                        begun.remove(trial)
                        bar.update()
                        self._show(bar)
            except BaseException as error:
                for trial in begun:
                    with suppress(Exception):  # else the next command does it
                        cause = error if isinstance(error, Exception) and not trial.number else None
                        self._end(trial, "FAILED" if cause else "KILLED", "interrupted", cause)
                done = len(optuna_study.ended(self.study))
                told = f"{done} of {total} trials are kept, and the same command goes on from there"
                if isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt(f"interrupted: {told}") from None
                if isinstance(error, BrokenExecutor):
                    why = "a process that scored trials was killed, for want of memory, say: tune.jobs=1 takes least"
                    raise ProjectError(f"{why}; {told}") from error
                raise

    def _begin(self, number: int) -> _Trial:
        asked = optuna_study.ask(self.study, self.among, first=self.now, number=number, seed=self.seed)
        values = optuna_study.values(self.space, asked.params) if number else self.now
        tags = {"stage": "trial", "trial": str(number), "process": processes.this()}
        run = tracking.begin(f"trial-{number}", tags=tags)
        for name, value in ((optuna_study.NUMBER, number), (optuna_study.RUN, run)):
            asked.set_user_attr(name, value)
        return _Trial(number, asked, run, values, varied(self.layout, self.typed, values) if number else self.untouched)

    def _scored(self, trial: _Trial, future: Future[float]) -> bool:
        """Whether `trial` is over, now that one more of its folds is: scored to the end, given up or failed."""
        try:
            trial.scores.append(future.result())
        except Exception as error:
            if isinstance(error, BrokenExecutor) or not trial.number:  # where the present settings fail, all will
                raise
            self._end(trial, "FAILED", "failed", error)
            return True
        trial.asked.report(float(np.mean(trial.scores)), step=len(trial.scores))
        if len(trial.scores) == self.tune.folds:
            self._end(trial, "FINISHED", "complete")
        elif trial.asked.should_prune():
            self._end(trial, "KILLED", "pruned")
        else:
            return False
        return True

    def _end(self, trial: _Trial, status: str, state: str, error: Exception | None = None) -> None:
        """Ends a trial in MLflow and then in the study, for which one that was interrupted has not been."""
        mean, spread = (float(call(trial.scores or [0])) for call in (np.mean, np.std))
        scores = {f"cv_{self.metric}": mean, f"cv_{self.metric}_std": spread} if state == "complete" else {}
        tracking.end(
            trial.run,
            status,
            params={name: str(value) for name, value in trial.values.items()},
            scores=scores,
            curves={f"fold_{self.metric}": trial.scores},
            tags={"trial.state": state},
            error=error,
            private=self.private,
        )
        if state != "interrupted":
            trial.asked.set_user_attr(optuna_study.SCORES, trial.scores)
            if error:
                trial.asked.set_user_attr(optuna_study.CAUSE, tracking.told(error, self.private))
        self.study.tell(trial.asked, mean if scores else None, state=optuna_study.STATES[state])

    def _show(self, bar: Any) -> None:
        """The best so far, beside the bar; where there is no terminal, a line from time to time."""
        over = optuna_study.ended(self.study)
        if best := optuna_study.best(over):
            told = f"best {self.metric} {best.value:.4f} (trial {best.user_attrs[optuna_study.NUMBER]})"
            bar.set_postfix_str(told)
            if bar.disable and len(over) % max(1, self.tune.trials // 5) == 0:
                print(f"{'':<9} {len(over)} of {self.tune.trials} trials: {told}", flush=True)


def _refuse(
    tune: Tuning, task: Task, target: str | None, file: Path, choices: dict[str, str], overrides: list[str]
) -> None:
    """Raises ProjectError for what would be no search, or could not be written down."""
    if target is None:
        raise ProjectError("columns.target=null: there is nothing to score the settings by")
    if "task.transform" in optuna_study.flat(tune.space) and task.kind != "regression":
        raise ProjectError(f"tune.space.task.transform is for regression, not for {task.kind}")
    for name, least in {"trials": 1, "folds": 2, "jobs": 1, "timeout": 1}.items():
        if (count := getattr(tune, name)) is not None and count < least:
            raise ProjectError(f"tune.{name}={count:g}: it is {least} or more")
    if not re.fullmatch(r"\w[\w\-]*", tune.name):
        raise ProjectError(
            f"tune.name={tune.name}: the file in conf/experiment/ has a name of letters, digits, _ and -"
        )
    if choices.get("experiment") == tune.name:
        raise ProjectError(f"experiment={tune.name} is the file that would be written: tune.name=... names another")
    if file.exists() and MINE not in file.read_text(encoding="utf-8") and not tune.force:
        way_out = "tune.name=... names another, tune.force=true replaces it"
        raise ProjectError(f"conf/experiment/{file.name} is there, and tune has not written it: {way_out}")
    replaced = [word.removeprefix("++").partition("=")[0] for word in overrides if word.startswith("++")]
    for word in overrides:
        if word.startswith("~") and word[1:] not in replaced:
            raise ProjectError(f"{word}: a file in conf/experiment/ cannot take a key away")


def _typed(
    layout: Layout, overrides: list[str], choices: dict[str, str], raw_config: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The defaults and the settings by which a file says what was typed."""
    known, chosen, settings = groups(layout), {name: choices[name] for name in ("model", "data")}, {}
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key.partition(".")[0] in ELSEWHERE or key == "experiment" or word.startswith("~"):
            continue
        if key in known:
            chosen[key] = choices[key]
        elif f"~{key}" in overrides:  # a mapping that takes the place of another: written out, the two would be merged
            settings[key] = f"${{oc.create:{value}}}"
        else:
            settings[key] = _at(raw_config, key)
    first = [choices["experiment"]] if "experiment" in choices else []
    return [*first, *({f"override /{group}": option} for group, option in chosen.items())], settings


def _at(raw_config: Any, key: str) -> Any:
    for part in key.split("."):
        raw_config = raw_config[part]
    return raw_config


def _outcome(
    over: list[Any],
    shares: dict[str, float],
    search: _Search,
    store: Store,
    file: Path,
    rows: int,
    typed: tuple[list[Any], dict[str, Any]],
) -> StageResult:
    """Writes the best trial's settings to `file`; figures, and what is to be said."""
    tune, metric, best = search.tune, search.metric, optuna_study.best(over)
    assert best is not None  # the first was scored
    number, spread = best.user_attrs[optuna_study.NUMBER], float(np.std(best.user_attrs[optuna_study.SCORES]))
    found = optuna_study.values(search.space, best.params) if number else {}
    score, before = float(best.value or 0), float(over[0].value or 0)
    told_score = f"{metric} {score:.4f} (deviation {spread:.4f}) in {tune.folds} folds of {rows:,} training rows"
    states = Counter(each.state.name.lower() for each in over)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    defaults, settings = typed
    about = [
        f"{MINE}: {told_score},",
        f"{before:.4f} before; trial {number} of {len(over)} ({told}), MLflow run {best.user_attrs[optuna_study.RUN]}.",
    ]
    text = optuna_study.experiment(about, defaults=defaults, settings={**settings, **found})
    store.replace(file, text)
    tracking.log_params({f"tune.{name}": str(value) for name, value in vars(tune).items() if name != "space"})
    tracking.log_params({f"best.{name}": str(value) for name, value in (found or search.now).items()})
    if not number:
        told += "; nothing that was tried is better"
    others = {name: value for name, value in found.items() if value != search.now[name]}
    changes = "".join(f"\n  {name:<40} {search.now[name]} -> {value}" for name, value in others.items())
    values = [each.value if each.state.name == "COMPLETE" else None for each in over]
    pruned = [optuna_study.levelled(each, over[0]) for each in over]
    figures = {"trials": search_figures.search(values, pruned, metric=metric)}
    if shares:
        figures["importances"] = search_figures.explained(shares, metric=metric)
    causes = [each.user_attrs[optuna_study.CAUSE] for each in over if optuna_study.CAUSE in each.user_attrs]
    notes = [f"{len(causes)} trials failed, the last: {causes[-1]}"] if causes else []
    threshold = search.untouched[2].threshold
    if threshold and not re.fullmatch(cross_validation.NUMBER, threshold):
        notes.append(f"task.threshold={threshold} is chosen on validation rows: trials answer from 0.5 on")
    if len(over) < tune.trials:
        notes.append(f"tune.timeout={tune.timeout:g}: {len(over)} of {tune.trials} trials were made; once more goes on")
    return StageResult(
        f"tune      {told_score}, {before:.4f} before: trial {number} of {len(over)} ({told}){changes}\n"
        f"wrote conf/experiment/{file.name}\n"
        f"  uv run mlflow run . --env-manager local -P experiment={tune.name}",
        scores={f"cv_{metric}": score, f"cv_{metric}_before": before, "trials": len(over)},
        tags={"experiment": tune.name, "best": best.user_attrs[optuna_study.RUN]},
        figures=figures,
        tables={"trials": optuna_study.table(over, search.space, first=search.now, metric=metric)},
        texts={f"{file.name}.txt": text},
        notes=notes,
    )
