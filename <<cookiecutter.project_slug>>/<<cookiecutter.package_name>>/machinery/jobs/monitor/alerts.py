"""A sentence to whoever has to know, by a webhook."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

PATIENCE = 10  # seconds


def sent(address: str, text: str, **about: Any) -> str | None:
    """Posts {"text": text, **about}, of which chat services show the text; gives a sentence where that failed.

    The address is a credential, and so the sentence names its host alone.
    """
    try:
        answer = requests.post(address, json={"text": text, **about}, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    else:
        if answer.ok:
            return None
        reason = f"status {answer.status_code}"
    return f"the alert could not be sent to {urlsplit(address).hostname or 'ALERT_WEBHOOK_URL'} ({reason})"
