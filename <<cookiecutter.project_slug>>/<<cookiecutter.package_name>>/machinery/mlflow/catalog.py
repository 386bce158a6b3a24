"""Tags as the registry takes them: Unity Catalog of Databricks has rules that MLflow's own registry has not.

https://docs.databricks.com/aws/en/database-objects/tags: 50 tags, values of 1,000 characters, no . , - = / : in keys.
"""

from __future__ import annotations

import re

import mlflow

PART = 960  # characters of a value; around them stands which part it is
CHANGES = 20  # of aliases that are remembered there
_PART = re.compile(r"\[(\d+) of (\d+): (.*)\]", re.DOTALL)


def is_used() -> bool:
    """Whether models are registered in Unity Catalog."""
    return "databricks-uc" in mlflow.get_registry_uri()


def name_of(tag: str) -> str:
    """The key of a `tag` in this registry: "metric_roc_auc" instead of "metric.roc_auc"."""
    return re.sub(r"[.,\-=/:]", "_", tag)[:250].strip() if is_used() else tag


def to_registry(tags: dict[str, str]) -> dict[str, str]:
    """`tags` with other keys, and long values in parts: {"trained": "[1 of 2: ...]", "trained 2": "[2 of 2: ...]"}."""
    if not is_used():
        return tags
    fitting = {}
    for tag, text in tags.items():
        parts = [text[at : at + PART] for at in range(0, len(text), PART)] or [""]
        for at, part in enumerate(parts, 1):
            fitting[name_of(tag) + f" {at}" * (at > 1)] = f"[{at} of {len(parts)}: {part}]" if parts[1:] else part
    return {tag: text if _PART.fullmatch(text) else text.strip() for tag, text in fitting.items()}


def from_registry(tags: dict[str, str]) -> dict[str, str]:
    """`tags` of which the parts are put together again; what is left of a longer value that was there is left out."""
    whole = {}
    for tag, text in tags.items():
        part = _PART.fullmatch(text)
        if not part:
            whole[tag] = text
        elif part[1] == "1":
            rest = [_PART.fullmatch(tags.get(f"{tag} {at}", "")) for at in range(2, int(part[2]) + 1)]
            whole[tag] = part[3] + "".join(each[3] if each else "" for each in rest)
    return whole
