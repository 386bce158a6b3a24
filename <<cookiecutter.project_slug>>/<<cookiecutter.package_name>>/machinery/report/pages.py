"""HTML pages that need no network, and the same in Markdown."""

from __future__ import annotations

import math
import re
from typing import Any

import jinja2


def render(package: str, name: str, **content: Any) -> str:
    """The HTML page that the template `name` in the folder of `package`, such as a job's, makes of `content`."""
    if "confidence" in content:
        content["percent"] = _percent(content["confidence"])
    return _template(name, package, autoescape=True, finalize=_shown).render(**content)


def report(**content: Any) -> str:
    """The page of a candidate, from the content that model_report puts together."""
    return render(str(__package__), "report.html", **content, **_derived(content))


def card(**content: Any) -> str:
    """The model card of a candidate: the content of its report, without the figures, in Markdown."""
    more = _derived(content) | {"percent": _percent(content["confidence"])}
    return _template("model_card.md", str(__package__), finalize=_marked).render(**content, **more)


def _template(name: str, package: str, **how: Any) -> jinja2.Template:
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(each, "") for each in dict.fromkeys([package, __package__])])
    pages = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, **how)
    pages.tests["known"], pages.globals["style"] = _is, "style.css"
    return pages.get_template(name)


def _percent(share: float) -> str:
    return f"{100 * share:.4g}\N{NO-BREAK SPACE}%"


def _derived(content: dict[str, Any]) -> dict[str, Any]:
    """What a page needs that follows from its `content`: the deciding score, who else has scores, and where the scales
    begin and end that intervals are drawn on."""
    scores, falls = content["scores"], dict(content["importances"])
    main = next((score for score in scores if score["metric"] == content["metric"]), None)
    others = [name for name in ("baseline", "champion", "validation", "train") if any(_is(row[name]) for row in scores)]
    rows, gain = [row for row in content["slices"] if _is(row["score"])], content["comparison"] or {}
    overall = [main[name] for name in ("candidate", "low", "high", "baseline", "champion")] if main else []
    alone = [member["scores"][content["metric"]] for member in content["members"]]
    within = [row[name] for row in rows for name in ("score", "low", "high")] + overall[:1]
    return {
        "main": main,
        "others": others,
        "scale": _scale(overall),
        "slice_scale": _scale(within),
        "member_scale": _scale([*alone, *overall[:1]]),
        "weighted": any(_is(member["weight"]) for member in content["members"]),
        "gain_scale": _scale([gain.get("gain"), gain.get("low"), gain.get("high"), 0.0]),
        "features": sorted(
            [(name, kind, falls.get(name)) for name, kind in content["columns"]],
            key=lambda feature: -feature[2] if _is(feature[2]) else math.inf,
        ),
        "most": max([fall for fall in falls.values() if _is(fall)], default=0),
    }


def _scale(values: list[Any]) -> tuple[float, float]:
    """Where a scale that shows all `values` begins, and how long it is, with room at its ends."""
    finite = [value for value in values if _is(value)]
    least, most = min(finite, default=0.0), max(finite, default=1.0)
    room = (most - least) * 0.06 or 1.0
    return least - room, most - least + 2 * room


def _is(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _shown(value: Any) -> Any:
    """A number as people read it: four decimals, fewer of large ones; a dash for none. Anything else as it is."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    size = abs(value)
    if size >= 1e9 or 0 < size < 5e-5:
        return f"{value:.3e}"
    return f"{value:,.{0 if isinstance(value, int) or size >= 1e5 else 1 if size >= 1e3 else 4}f}"


def _marked(value: Any) -> Any:
    """`value` as text that Markdown takes for nothing but text, also in a table; what is marked safe as it is."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return _shown(value)
    text = " ".join(value.split())
    text = re.sub(r"([\\`*\[\]<|~$])|(?<!\w)_|_(?!\w)", lambda sign: "\\" + sign[0], text)
    return re.sub(r"^([-+=>#])|^(\d+)([.)])(?= |$)", lambda sign: (sign[2] or "") + "\\" + (sign[1] or sign[3]), text)
