"""What nobody needs any more, deleted: runs, versions, models and outputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...errors import ConfigError, Unavailable
from ...mlflow import run_history
from ...result import StageResult

if TYPE_CHECKING:
    from ...layout import Layout
    from ...pipeline.store import Store


HOURS = {"h": 1, "d": 24, "w": 7 * 24}


def prune(
    store: Store,
    *,
    keep: int,
    older_than: str | None,
    dry_run: bool,
    layout: Layout,
    overrides: list[str],
    began: float,
) -> StageResult:
    """Deletes what neither the last `keep` runs nor a version with an alias rest on; if `dry_run`, only says so.

    With `older_than` no younger run is deleted, and `keep` counts only where it is typed as well. Raises Unavailable
    while another run is under way.
    """
    if keep < 0:
        raise ConfigError(f"keep={keep}: a count is 0 or more")
    age = re.fullmatch(r"(\d+)([hdw])", older_than or "0h")
    if not age:
        raise ConfigError(f"older_than={older_than}: a number with h, d or w for hours, days or weeks, such as 90d")
    if older_than and not any(word.lstrip("+").startswith("keep=") for word in overrides):
        keep = 0
    young = 1000 * (began - 3600 * int(age[1]) * HOURS[age[2]])  # ms since 1970
    runs = run_history.history()
    under_way = [run.id for run in runs if run.status == "RUNNING" and run.stage in layout.stages]
    if under_way and not dry_run:
        raise Unavailable(
            f"run {under_way[0]} is under way, and what it rests on is not known yet: prune when it has ended"
        )
    line = [run for run in runs if run.stage in layout.stages and run.status == "FINISHED"]
    oldest = float("inf") if not keep else line[keep - 1].start if len(line) >= keep else 0
    held, others = run_history.versions(held=True), run_history.versions(held=False)
    needed = {run.id for run in runs if run.start >= min(oldest, young) or run.status == "RUNNING" or run.id in held}
    maker = {nested: run.id for run in runs for nested in run.nested}
    needed |= {maker[made] for run in runs if run.id in needed for made in run.reused if made in maker}
    gone = [run for run in runs if run.id not in needed]
    keys = {key for run in runs if run.id in needed for key in run.keys}
    dropped = [version for run in gone for version in others.get(run.id, [])]
    files, size = store.others((*layout.stages, *layout.jobs), keys)
    if not dry_run:
        models = run_history.delete_versions(dropped, runs=[run.id for run in gone], keys=keys)
        run_history.delete_runs([each for run in gone for each in (*run.nested, run.id)], models)
        store.delete(files)
    listed = "".join(f"\n  run {run.id[:8]} {run.name}" for run in gone)
    listed += "".join(f"\n  {version.name} version {version.version}" for version in dropped)
    what = f"{len(gone):,} runs, {len(dropped):,} model versions and {len(files):,} outputs ({size / 1e6:,.1f} MB)"
    last = [f"the last {keep} runs"] * bool(keep) + [f"runs younger than {older_than}"] * bool(older_than)
    kept = f"what {' and '.join(['versions with an alias', *last])} rest on stays"
    return StageResult(
        f"{'would delete' if dry_run else 'deleted'} {what}; {kept}" + (listed if gone else ""),
        scores={"runs": len(gone), "versions": len(dropped), "outputs": len(files)},
        notes=["nothing was deleted: -P dry_run=false deletes"] if dry_run and (gone or files) else [],
    )
