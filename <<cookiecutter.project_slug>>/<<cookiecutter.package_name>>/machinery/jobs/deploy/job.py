"""The version that an alias names, answering over HTTP: started, compared, switched to, and the one before it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError, close
from ...pipeline import provenance
from .rollout import Deployment

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
    deployment = Deployment(deploy, store, choices, approver or provenance.user())
    actions = {"start": deployment.roll_out, "status": deployment.status, "stop": deployment.stop}
    if action not in actions:
        raise ConfigError(f"action={action}: there is no such action{close(action, actions)}")
    return actions[action]()
