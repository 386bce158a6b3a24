"""The candidate in the registry: champion where it passes the gates, challenger where it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from .. import gates
from ..machinery.data import splits
from ..machinery.errors import GateFailed, ProjectError
from ..machinery.mlflow import aliases, model_format, registry
from ..machinery.pipeline import provenance
from ..machinery.report import model_report, pages
from ..machinery.result import StageResult

if TYPE_CHECKING:
    from ..config import Columns, Evaluation, Gate, Split, Task
    from ..machinery.pipeline.store import Store

PROMOTE = (
    "uv run mlflow run . --env-manager local -e promote -P registered_model={0.name} -P version={0.version} "
    "-P approver=..."
)
ROWS = 20  # test rows that are posted to the served candidate


def register(
    store: Store,
    *,
    gate: Gate,
    promotion: str,
    task: Task,
    columns: Columns,
    split: Split,
    evaluation: Evaluation,
    seed: int,
    registered_model: str,
    tags: dict[str, str | None],
    dirty: str,
    model_id: str,
) -> StageResult:
    """Registers the candidate unless that very model is registered already, and moves the alias it has earned.

    With gate.on_fail=error it raises GateFailed where the gate fails, when that is done.
    """
    sections = {"columns": columns, "task": task, "split": split, "evaluation": evaluation, "seed": seed}
    evaluated, digest = store.outcome("evaluate").facts, store.outcome("train").facts["digest"]
    version = registry.twin(registered_model, digest)
    known = version is not None
    if version is None:
        own = {name: value for name, value in tags.items() if value is not None}
        noted = {"digest": digest, "trained": json.dumps(_record(store, columns, split, seed))} | own
        described = _description(store.outcome("train").facts["estimator"], columns.target, evaluated)
        version = registry.register(registered_model, model_id, description=described, tags=noted)
    found = gates.verdicts(
        evaluated,
        gate=gate,
        metric=next(iter(evaluated["test"]), None),
        confidence=evaluation.confidence,
        min_rows=evaluation.min_rows,
        expectations=int(store.outcome("validate").scores["expectations"]),
        dirty=dirty,
        rolled_back=version.tags.get("rolled_back"),
    )
    if gate.serving and all(each.passed for each in found):  # it takes a minute: only where all else is well
        found.append(_served(store, task, private=bool(columns.sensitive)))
    alias, found = _moved(version, found, evaluated["against"], promotion)
    passed = all(each.passed for each in found)
    reasons = [each.sentence for each in found if passed or not each.passed]
    told: dict[str, Any] = {"passed": passed, "alias": alias, "sentence": "; ".join(reasons)}
    title, verdict = f"{version.name} version {version.version}", "passed" if passed else "failed"
    scored = {name: evaluated[name] for name in ("test", "interval", "rows")} | {"confidence": evaluation.confidence}
    registry.note(version, {"gate": verdict, "reasons": told["sentence"][:4000], "scores": json.dumps(scored)})
    notes = []
    if passed and alias == "challenger":
        told["sentence"] = f"it waits for approval (promotion=manual); {told['sentence']}"
        notes = [f"it waits for somebody to say: {PROMOTE.format(version)}"]
    outcome = StageResult(
        f"{title}{', registered before as the same model' if known else ''}: {alias}",
        facts={
            "name": version.name,
            "version": version.version,
            "alias": alias,
            "verdict": verdict,
            "reasons": reasons,
        },
        aliases=registry.aliases(version.name),
        closing=_closing(version, verdict, alias, reasons),
        notes=notes,
        tags={"gate": verdict, "registered": f"{version.name}/{version.version}"}
        | {f"gate.{each.name}": f"{'passed' if each.passed else 'failed'}: {each.sentence}" for each in found},
        tables={"gates": pl.DataFrame([vars(each) for each in found])},
        texts=_texts(
            store, sections, title=title, verdict=told, gates=[vars(each) for each in found], address=version.uri
        ),
    )
    if gate.on_fail == "error" and not passed:
        raise GateFailed(f"{title} is {alias}, the gate failed: {'; '.join(reasons)}", outcome)
    return outcome


def _closing(version: registry.ModelVersion, verdict: str, alias: str, reasons: list[str]) -> str:
    """What the gate says and what the candidate is now, for the end of the command."""
    gate = f"gate {verdict}: "
    stays = verdict == "failed" and alias == "champion"
    holds = "stays champion until another takes its place" if stays else f"is {alias}"
    return gate + f"\n{' ' * len(gate)}".join(reasons) + f"\n{version.name} version {version.version} {holds}"


def _record(store: Store, columns: Columns, split: Split, seed: int) -> dict[str, Any]:
    """What a later run needs to tell which rows the candidate was trained on."""
    names = store.table("split").drop("split").collect_schema().names()
    shares = splits.shares(test=split.test, validation=split.validation, train=split.train)
    cuts = store.outcome("split").facts["cuts"]
    return splits.record(names, by=split.by, shares=shares, roles=columns, seed=seed, gap=split.gap, cuts=cuts)


def _texts(store: Store, sections: dict[str, Any], **told: Any) -> dict[str, str]:
    """The report and the model card of a candidate that is registered."""
    facts = {stage: store.outcome(stage).facts for stage in ("ingest", "split", "train", "evaluate")}
    drawn = {name: (store.path("evaluate") / f"{name}.svg").read_text("utf-8") for name in facts["evaluate"]["figures"]}
    content = model_report.content(facts=facts, figures=drawn, **sections, **told)
    return {"report.html": pages.report(**content), "model_card.md": pages.card(**content)}


def _moved(
    version: registry.ModelVersion, found: list[gates.GateResult], against: dict[str, Any] | None, promotion: str
) -> tuple[str, list[gates.GateResult]]:
    """The alias that `version` holds once the verdicts `found` are acted on, and the verdicts.

    One more where another model became champion while this one was compared with its predecessor.
    """
    registry.note(version, {"against": json.dumps(against)})
    name, number, who = version.name, version.version, provenance.user()
    champion = aliases.holders(name).get("champion")
    if champion == number:
        return "champion", found
    failed = [verdict.sentence for verdict in found if not verdict.passed]
    if not failed and promotion == "auto":
        try:
            over = against["version"] if against else None
            aliases.promote(name, number, over=over, who=who, why="it passed the gate")
            return "champion", found
        except ProjectError as error:
            failed = [str(error)]
            found = [*found, gates.GateResult("champion", False, str(error))]
    why = "it did not pass the gate" if failed else "it passed the gate, promotion=manual"
    aliases.challenge(name, number, who=who, why=why)
    return "challenger", found


def _served(store: Store, task: Task, *, private: bool) -> gates.GateResult:
    """Whether the candidate, served in an environment of its own, answers over HTTP what it answers here."""
    from ..machinery.model import derived
    from ..machinery.serving import server_check

    folder = store.model
    model = model_format.load(folder)
    rows = store.table("split").filter(pl.col("split") == "test").head(ROWS).collect()
    frame = derived.typed(rows, model.inputs).to_pandas()
    here = model.predict(frame)
    wrong = server_check.difference(folder, frame, here, private=private)
    return gates.GateResult("serving", not wrong, wrong or f"served, it answers {len(frame)} test rows as it does here")


def _description(estimator: str, target: str | None, evaluated: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} {value:.4f}" for name, value in evaluated["test"].items()) or "not scored"
    return f"{estimator} predicting {target or 'anomalies'}: {scores} on {evaluated['rows']:,} test rows."
