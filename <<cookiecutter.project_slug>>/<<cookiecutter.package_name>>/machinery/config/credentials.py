"""Credentials: refused where they stand in the configuration, and hidden in all that is written."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from ..errors import ConfigError

# Of a key in snake, kebab or camel case, as `is_named` spells it: its last words.
_NAMED = re.compile(
    r"(?:^|_)(?:pass(?:word|wd|phrase|code)?|pwd|secrets?|tokens?|credentials?|auth(?:orization)?|bearer|cookie|dsn"
    r"|sig(?:nature)?|jwt|connection_?string|connection_uri"
    r"|(?:api|app|secret|access|account|private|sas|signing|encryption|master|storage|subscription|license)_?key(?:_id)?)$"
)
_HARMLESS = re.compile(r"(?i)(?:true|false|none|null|auto|env|anonymous|basic|bearer|token)?")
_BY_COLUMN = ("features.", "types.")  # keys below are columns, which may have any name
_IN_TEXT = (
    r"password|passwd|pwd|account_?key|shared_?access_?(?:key|signature)|secret_?access_?key|api[_\-]?key|client_?secret"
    r"|(?:access|auth|refresh)_?token"
)
_IN_QUERY = r"token|auth|key|code|secret|password|api_?key|access_?token|x-amz-(?:credential|security-token)"
LOOKS = {  # what has no shape of its own, told by what stands before it
    "a token as user of an address": r"(?i)\b(?!abfss?:|wasbs?:)[a-z][a-z0-9+.\-]*://(?P<secret>"
    r"(?=[a-z_\-]*\d)[\w\-]{20,}(?=:?[^\s/@:]*@)|[^\s/:@'\"$]{8,}(?=:@))",
    "a password in an address": r"(?i)\b[a-z][a-z0-9+.\-]*://(?:\$\{[^{}]*\}|(?!\$\{)[^\s/:'\"])*:"
    r"(?!\d{1,5}(?:/|$)|\$(?:\{[^{}]*\})?@)(?P<secret>[^\s'\"]+)@",
    "a password in a text": rf"(?i)(?P<name>{_IN_TEXT})(?:\s*=\s*['\"]?|['\"]\s*:\s*['\"])"
    r"(?!\w+\.(?P=name))(?P<secret>[^\s'\";,&}{$]{4,})",
    "a password of .netrc": r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(?P<secret>\S+)",
    "a private key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)|PuTTY-User-Key-File-\d:[\s\S]*",
    "a signed address": r"(?i)[?&](?:sig|signature|x-amz-signature|x-goog-signature)=(?P<secret>[\w%+/=\-.~]{16,})",
    "a credential in an address": rf"(?i)[?&](?:{_IN_QUERY})=(?P<secret>[\w%+/=\-.~]{{12,}})",
    "a bearer token": r"(?i)\b(?:bearer|basic)\s+(?P<secret>(?=\S*\d)[\w\-.=+/~]{16,})",
}
# The shapes of tokens, as those who hand them out publish them or their scanners look for them.
TOKENS = {
    "an AWS key": r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b|ABSK[A-Za-z0-9+/]{100,}|amzn\.mws\.[0-9a-f\-]{36}",
    "an Azure key": r"[A-Za-z0-9+/]{40,80}(?:AZDO|ACDb|AzFu|AzSe|AzCa|AIoT|\+A(?:St|Ba|MC|CR|Eh))[A-Za-z0-9+/]{4,8}=*"
    r"|[\w~.]{3}\dQ~[\w~.\-]{31,34}",
    "a Google key": r"AIza[\w\-]{35}|ya29\.[\w\-]{20,}|GOCSPX-[\w\-]{20,}|1//0[\w\-]{30,}",
    "an Alibaba, Tencent or Scaleway key": r"LTAI[A-Za-z0-9]{16,24}\b|AKID[A-Za-z0-9]{32}\b|SCW[A-Z0-9]{17}\b",
    "a Databricks token": r"dapi[0-9a-f]{32}",
    "a DigitalOcean token": r"do[opr]_v1_[0-9a-f]{64}",
    "a token of Heroku, Fly, Netlify or Vercel": r"HRKU-[\w\-]{30,}|fm\d[a-z]?_[\w+/=\-]{30,}|nfp_[^\W_]{30,}"
    r"|vcp_[^\W_]{24,}",
    "a HashiCorp token": r"hv[sbr]\.[\w\-]{20,}|\w{14}\.atlasv1\.[\w\-=]{40,}",
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}",
    "a GitLab token": r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|oas|agent|ffct)-[\w\-.]{16,}|GR1348941[\w\-]{20}",
    "an Atlassian token": r"AT(?:ATT|CTT)3[\w\-=]{24,}|ATBB[A-Za-z0-9]{28,}",
    "a package registry's token": r"npm_[A-Za-z0-9]{30,}|pypi-[\w\-]{30,}|rubygems_[0-9a-f]{48}|dckr_[po]at_[\w\-]{20,}"
    r"|AKCp\w{60,}|cmVmdGtu\w{30,}|cio[A-Za-z0-9]{32}\b|oy2[a-z0-9]{43}\b|CLOJARS_[0-9a-z]{60}",
    "a token of CircleCI or Buildkite": r"CCI(?:PAT|PRJ)_\w{20,}|bk(?:ua|at|ct|aj|pt)_\w{20,}",
    "a token of Pulumi, Doppler, Prefect or dbt": r"pul-[0-9a-f]{40}|dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.\-]{30,}"
    r"|pn[ub]_[A-Za-z0-9]{30,}|dbt[cu]_[\w\-=]{30,}|ops_eyJ[\w\-]{40,}",
    "a token of OpenAI or Anthropic": r"sk-(?:ant|proj|svcacct|admin|or|lf)-[\w\-]{20,}|sk-[A-Za-z0-9]{20,}",
    "a Hugging Face token": r"(?:hf|api_org)_[A-Za-z0-9]{20,}",
    "a model provider's token": r"gsk_[^\W_]{20,}|xai-[^\W_]{20,}|pplx-[^\W_]{20,}|r8_[^\W_]{20,}|nvapi-[\w\-]{20,}"
    r"|csk-[^\W_]{20,}|tgp_v1_[\w\-]{20,}|fw_[A-Za-z0-9]{20,}|tvly-[\w\-]{20,}|sk_[0-9a-f]{48}\b",
    "a Pinecone, LangSmith or Weights & Biases key": r"pcsk_\w{20,}|lsv2_(?:pt|sk)_\w{20,}|wandb_v1_\w{20,}",
    "a Slack token": r"xox[abdeoprs](?:\.xox[bp])?-[\w\-]{10,}|xapp-[\w\-]{20,}",
    "a webhook's address": r"hooks\.slack\.com/(?:services|workflows|triggers)/\S+|[\w\-]+\.webhook\.office\.com/\S+"
    r"|discord(?:app)?\.com/api/webhooks/\S+",
    "a bot's token": r"\d{8,10}:AA[\w\-]{33}|[MNO][\w\-]{23,25}\.[\w\-]{6}\.[\w\-]{27,}",
    "a mail service's key": r"SG\.[\w\-]{16,}\.[\w\-]{16,}|[0-9a-f]{32}-us\d{1,2}\b|key-[0-9a-f]{32}\b"
    r"|[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}\b|xkeysib-[\w\-]{40,}|re_[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}",
    "a Twilio key": r"SK[0-9a-f]{32}\b",
    "a payment service's key": r"(?:sk|rk)_(?:live|test)_\w{10,}|whsec_[\w+/=]{16,}|sq0[a-z]{3}-[\w\-]{20,}"
    r"|EAAA[\w\-]{60}|access_token\$production\$\w+\$\w+",
    "a Shopify token": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "a monitoring service's key": r"glsa_[A-Za-z0-9]{30,}|glc_[A-Za-z0-9+/=]{30,}|NR(?:AK|JS|II|AA)-[\w\-]{19,}"
    r"|sntry[su]_[\w+/=\-]{30,}|dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}|phx_[A-Za-z0-9]{30,}",
    "a database service's key": r"pscale_(?:tkn|pw|oauth)_[\w\-.=]{20,}|sbp_[0-9a-f]{40}|sb_secret_[\w\-]{20,}"
    r"|napi_[A-Za-z0-9]{30,}|mdb_sa_sk_[\w\-]{20,}",
    "a Tailscale key": r"tskey-[a-z]+-[\w\-]{16,}",
    "a key of an office or design service": r"ntn_[^\W_]{40,}|secret_[^\W_]{43}\b|lin_(?:api|oauth)_[^\W_]{30,}"
    r"|figd_[\w\-]{30,}|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|pat[A-Za-z0-9]{14}\.[0-9a-f]{64}|pat-(?:na|eu)\d-[0-9a-f\-]{36}"
    r"|CFPAT-[\w\-]{40,}|sgp_[A-Za-z0-9]{40,}",
    "a Mapbox key": r"sk\.eyJ[\w\-]{30,}\.[\w\-]{20,}",
    "a JSON Web Token": r"eyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]*",
    "an age key": r"AGE-SECRET-KEY-1[A-Z0-9]{50,}",
}
_LOOKS = {what: re.compile(pattern) for what, pattern in LOOKS.items()}
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?:" + "|".join(f"({pattern})" for pattern in TOKENS.values()) + ")")
_REFERENCE = re.compile(r"\$\{(?:oc\.env:[^{},]*,([^{}]*)|[^{}]*)\}")
# `password: x`, `API_KEY=x` and `"token": "x"` in lines of files, with a diff's sign before
_LINE = re.compile(
    r"(?m)^[+\- ]?\s*(?:export\s+|-\s+)?['\"]?([\w.\-]+)['\"]?(?:\s*:\s*\w+)?\s*[:=]\s*(['\"]?)([^\s'\"].*)$"
)


def is_named(key: str) -> bool:
    """Whether `key` says that its value is a credential: x-api-key, accessToken, DB_PASS, source.password."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+", "_", key)
    return bool(_NAMED.search(re.sub(r"_\d+_$", "", snake).lower()))


def literal(stated: Any, at: str = "") -> tuple[str, str] | None:
    """The key of the first credential that stands in `stated` as it is, and what it looks like."""
    if isinstance(stated, dict):
        if key := next((key for key in stated if kind_in(str(key))), None):
            return at or "the configuration", f"{kind_in(str(key))} as a key"
        pairs = [(f"{at}.{key}".removeprefix("."), value) for key, value in stated.items()]
    elif isinstance(stated, list):
        pairs = [(f"{at}[{number}]", value) for number, value in enumerate(stated)]
    else:
        text = "" if isinstance(stated, bool | None) else _without_references(str(stated))
        if not at.startswith(_BY_COLUMN) and is_named(at) and not _HARMLESS.fullmatch(text.replace("$", "").strip()):
            return at, "a credential by its name"
        return (at, what) if isinstance(stated, str) and (what := kind_in(text)) else None
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
    if token := _TOKEN.search(text):
        return list(TOKENS)[(token.lastindex or 1) - 1]
    return next((what for what, pattern in _LOOKS.items() if pattern.search(text)), None)


def line_in(text: str, *, code: bool) -> str | None:
    """The name of the first credential that a line of the file `text` states, `key: value`; in `code` a quoted one."""
    for match in _LINE.finditer(text):
        name, quote, value = match.groups()
        if (
            is_named(name)
            and (quote or not code)
            and not _HARMLESS.fullmatch(_without_references(value).strip("'\" $,"))
        ):
            return name
    return None


def hidden(stated: Any) -> dict[str, str]:
    """What comes from the environment and must not be shown: {value: what to say instead}.

    The variables that the config refers to, those whose names say that they are credentials, and passwords in either.
    """
    named = set(re.findall(r"oc\.env:\s*(\w+)", str(stated)))
    values = {}
    for name, value in os.environ.items():
        if (name in named or is_named(name)) and len(value) >= 6 and not os.path.exists(value):
            values[value] = f"${{oc.env:{name}}}"
            if password := re.match(r"\w[\w+.\-]*://[^/]*?:([^/]{4,})@", value):
                values |= {password[1]: "***", unquote(password[1]): "***"}
    return dict(sorted(values.items(), key=lambda pair: -len(pair[0])))


def hide(text: str, values: dict[str, str]) -> str:
    """`text` without what `values` says must not be shown, and without what looks like a credential."""
    for value, instead in values.items():
        text = text.replace(value, instead)
    for pattern in _LOOKS.values():
        text = pattern.sub(_masked, text)
    return _TOKEN.sub("***", text)


def _masked(match: re.Match[str]) -> str:
    secret = match.groupdict().get("secret")
    return match[0].replace(secret, "***") if secret else "***"


def _without_references(text: str) -> str:
    """`text` with $ for each reference to a variable; for one with a default, which is written down, the default."""
    while (shorter := _REFERENCE.sub(lambda match: "$" if match[1] is None else match[1].strip(), text)) != text:
        text = shorter
    return text
