"""Credentials: refused where they stand in the configuration, and hidden in all that is written."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from ..errors import ConfigError

NAMED = re.compile(
    r"(^|[_\-.])(password|passwd|passphrase|pwd|secret|token|credentials?|authorization|auth|dsn|connection_?string"
    r"|(api|secret|access|account|private|sas)_?key(_id)?)$",
    re.IGNORECASE,
)
LOOKS = {  # as those who hand them out describe them
    "a password in an address": r"\b[a-z][a-z0-9+.\-]*://[^\s/:@'\"]*:(?P<secret>[^\s/@'\"]+)@",
    "a password in a text": r"(?i)"
    r"(?:password|passwd|pwd|account_?key|sharedaccesskey|api_?key|client_secret|access_token)"
    r"(?:\s*=\s*['\"]?|['\"]\s*:\s*['\"])(?P<secret>[^\s'\";,&}{$]{4,})",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)",
    "an AWS key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
    "a Google key": r"\bAIza[\w\-]{35}|\bya29\.[\w\-]{20,}|\bGOCSPX-[\w\-]{20,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "a GitLab token": r"\bgl(?:pat|dt|rt|cbt|ptt)-[\w\-]{16,}",
    "a Slack token": r"\bxox[abeoprs]-[\w\-]{10,}|hooks\.slack\.com/services/\S+",
    "a token of OpenAI or Anthropic": r"\bsk-(?:ant-|proj-)?[\w\-]{20,}",
    "a Stripe key": r"\b(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a Databricks token": r"\bdapi[0-9a-f]{32}\b",
    "a package registry's token": r"\bnpm_[A-Za-z0-9]{30,}|\bpypi-[\w\-]{30,}",
    "a SendGrid key": r"\bSG\.[\w\-]{16,}\.[\w\-]{16,}",
    "a Twilio key": r"\bSK[0-9a-f]{32}\b",
    "a Vault token": r"\bhv[sb]\.[\w\-]{20,}",
    "a DigitalOcean token": r"\bdo[opr]_v1_[0-9a-f]{64}",
    "a signed address": r"[?&](?:sig|X-Amz-Signature|X-Goog-Signature)=(?P<secret>[\w%+/=\-]{16,})",
    "a JSON Web Token": r"\beyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]*",
    "a bearer token": r"(?i)\b(?:bearer|basic)\s+(?P<secret>[\w\-.=+/]{16,})",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in LOOKS.items()}


def literal(stated: Any, at: str = "") -> tuple[str, str] | None:
    """The key of the first credential that stands in `stated` as it is, and what it looks like."""
    if isinstance(stated, dict):
        pairs = [(f"{at}.{key}".removeprefix("."), value) for key, value in stated.items()]
    elif isinstance(stated, list):
        pairs = [(f"{at}[{number}]", value) for number, value in enumerate(stated)]
    else:
        text = re.sub(r"\$\{[^}]*\}", "", stated) if isinstance(stated, str) else ""
        if text and NAMED.search(at) and not re.fullmatch(r"(?i)true|false|none|null|auto|env", text):
            return at, "a credential by its name"
        return (at, what) if text and (what := kind_in(text)) else None
    return next((match for key, value in pairs if (match := literal(value, key))), None)


def refuse_literal(stated: Any) -> None:
    """Raises ConfigError where a credential stands in `stated` as it is."""
    if match := literal(stated):
        key, what = match
        name = re.sub(r"\W+", "_", key).strip("_").upper()
        raise ConfigError(
            f"{key} holds {what}, which every run would write down: put it into the environment or .env, as {name}, "
            f"and say {key}=${{oc.env:{name}}}"
        )


def kind_in(text: str) -> str | None:
    """What kind of credential stands in `text`."""
    return next((what for what, pattern in PATTERNS.items() if pattern.search(text)), None)


def hidden(stated: Any) -> dict[str, str]:
    """What comes from the environment and must not be shown: {value: what to say instead}.

    The variables that the config refers to, those whose names say that they are credentials, and passwords in either.
    """
    named = set(re.findall(r"oc\.env:\s*(\w+)", str(stated)))
    values = {}
    for name, value in os.environ.items():
        if (name in named or NAMED.search(name)) and len(value) >= 6 and not os.path.exists(value):
            values[value] = f"${{oc.env:{name}}}"
            if password := re.match(r"\w[\w+.\-]*://[^/@]*?:([^/@]{4,})@", value):
                values |= {password[1]: "***", unquote(password[1]): "***"}
    return dict(sorted(values.items(), key=lambda pair: -len(pair[0])))


def hide(text: str, values: dict[str, str]) -> str:
    """`text` without what `values` says must not be shown, and without what looks like a credential."""
    for value, instead in values.items():
        text = text.replace(value, instead)
    for pattern in PATTERNS.values():
        text = pattern.sub(_masked, text)
    return text


def _masked(match: re.Match[str]) -> str:
    secret = match.groupdict().get("secret")
    return match[0].replace(secret, "***") if secret else "***"
