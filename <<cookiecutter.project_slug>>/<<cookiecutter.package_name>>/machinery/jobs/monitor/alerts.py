"""A sentence to whoever has to know, by a webhook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 10  # seconds


def sent(address: str, text: str, **about: Any) -> str | None:
    """Posts {"text": ...}, which chat services show, and what else there is to know; gives a sentence if that failed.

    The address is a credential, and so is not told.
    """
    body = json.dumps({"text": text, **about}, ensure_ascii=False).encode()
    try:
        asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(asked, timeout=PATIENCE).close()
    except (OSError, ValueError) as error:
        reason = f"status {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        return f"the alert could not be sent to {urlsplit(address).hostname or 'ALERT_WEBHOOK_URL'} ({reason})"
    return None
