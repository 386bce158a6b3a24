"""Alerts: a sentence posted to a webhook."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

PATIENCE = 10  # seconds


def send(address: str, text: str, **about: Any) -> str | None:
    """Posts {"text": text, **about} as JSON to `address`; None, or, where that failed, a sentence that says so.

    Chat services show the text. The address is a credential: the sentence names only its host.
    """
    try:
        response = requests.post(address, json={"text": text, **about}, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    else:
        if response.ok:
            return None
        reason = f"status {response.status_code}"
    return f"the alert could not be sent to {urlsplit(address).hostname or 'ALERT_WEBHOOK_URL'} ({reason})"
