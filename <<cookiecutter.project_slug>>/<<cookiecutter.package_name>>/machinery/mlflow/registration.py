"""A candidate made a version of a registered model, and the alias that it earns."""

from __future__ import annotations

from mlflow import MlflowClient

from ..errors import ProjectError
from . import aliases, model_format, registry, version_tags
from .registry import ModelVersion
from .version_tags import ScoresRecord, SplitRecord

COPIED_FROM = "copied_from"  # the tag of a version that came from another registry or name
# tags that another version may have otherwise
OF_A_VERSION = ("algorithm", "environment", "ci.run", "ci.review", COPIED_FROM)


def register_once(
    name: str, model_id: str, *, digest: str, trained: SplitRecord, description: str, about: str, tags: dict[str, str]
) -> tuple[ModelVersion, bool]:
    """The version of `name` that answers as `digest` says, out of the logged model `model_id` where there is none yet;
    and whether it is new.

    A new one gets the `description`, the `tags`, and the record of how its table was split; the model, with the first
    of its versions, what it is `about`.
    """
    twin = registry.twin(name, digest)
    if twin and twin.noted.gate:  # without it, a killed process has not come to the end
        return twin, False
    files = MlflowClient().get_logged_model(model_id).tags.get(model_format.FILES, "")
    noted = tags | version_tags.to_tags(digest=digest, files=files, trained=trained)
    version = twin or registry.register(name, model_id, tags=noted)
    of_all = {key: value for key, value in tags.items() if key not in OF_A_VERSION}
    registry.describe(version, description, about, of_all)
    return version, True


def award(
    version: ModelVersion, *, passed: bool, promotion: str, against: dict[str, str] | None, who: str
) -> tuple[str, str]:
    """The alias of `version` once it has `passed` the gates or not, and why it is not champion all the same, or "".

    Champion where promotion=auto, unless another model took that place since the version was compared with the champion
    `against`, on behalf of `who`; else challenger. A champion stays champion until another takes its place.
    """
    name, number, refused = version.name, version.version, ""
    parent = {"parent_model": f"models:/{name}/{against['version']}"} if against else {}
    registry.note(version, version_tags.to_tags(against=against) | parent)
    if aliases.holders(name).get("champion") == number:
        return "champion", ""
    if passed and promotion == "auto":
        try:
            over = against["version"] if against else None
            origin = f", a copy of {version.tags[COPIED_FROM]}" if COPIED_FROM in version.tags else ""
            aliases.promote(name, number, over=over, who=who, why=f"it passed the gate{origin}")
            return "champion", ""
        except ProjectError as error:
            refused = str(error)
    why = "it passed the gate, promotion=manual" if passed and not refused else "it did not pass the gate"
    aliases.challenge(name, number, who=who, why=why)
    return "challenger", refused


def note_gate(
    version: ModelVersion, verdict: str, reasons: list[str], scores: ScoresRecord, metrics: dict[str, float]
) -> None:
    """Writes on `version` the gates' `verdict` ("passed" or "failed"), why, and what it scored: `metrics` as tags to
    search by, as in "tags.`metric.roc_auc` LIKE '0.99%'"."""
    noted = version_tags.to_tags(gate=verdict, reasons="; ".join(reasons), scores=scores)
    registry.note(version, noted | {f"metric.{name}": f"{value:.4f}" for name, value in metrics.items()})
