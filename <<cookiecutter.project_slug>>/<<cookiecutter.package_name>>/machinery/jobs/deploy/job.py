"""The version that an alias names, answering over HTTP: started, compared, switched to, and the one before it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError, close
from ...pipeline import provenance
from .rollout import Deployment, as_started

if TYPE_CHECKING:
    from ...config.schema import Deploy
    from ...pipeline.store import Store
    from ...result import StageResult


def deploy(
    store: Store, *, action: str, approver: str | None, deploy: Deploy | None, choices: dict[str, str]
) -> StageResult:
    """Starts what the alias names and switches to it, says what answers (action=status), or ends it (action=stop)."""
    if deploy is None:
        raise ConfigError("deploy is null: name an option of conf/deploy/, such as deploy=staging")
    settings = deploy if action == "start" else as_started(deploy, [])
    deployment = Deployment(settings, store, choices, approver or provenance.user())
    actions = {"start": deployment.roll_out, "status": deployment.status, "stop": deployment.stop}
    if action not in actions:
        raise ConfigError(f"action={action}: there is no such action{close(action, actions)}")
    return actions[action]()
