import pytest
from penguin_classifier.machinery.config import credentials
from penguin_classifier.machinery.config.compose import resolve
from penguin_classifier.machinery.errors import ProjectError

NUMBERS = "0123456789" * 8
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
LOOKS = [  # put together here, so that no scanner takes them for real ones
    "postgresql://bob:" + "hunter2x@db/x",
    "host=db password=" + "hunter2x",
    '{"password": "' + 'hunter2x"}',
    "DefaultEndpointsProtocol=https;AccountKey=" + LETTERS,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "AIza" + NUMBERS[:35],
    "ghp_" + LETTERS[:36],
    "github_" + "pat_" + LETTERS[:30],
    "glpat-" + LETTERS[:20],
    "xoxb-" + NUMBERS[:24],
    "sk-" + "ant-" + LETTERS[:30],
    "sk_" + "live_" + LETTERS[:24],
    "hf_" + LETTERS[:34],
    "dapi" + NUMBERS[:32],
    "npm_" + LETTERS[:36],
    "pypi-" + LETTERS,
    "SG." + LETTERS[:22] + "." + LETTERS[:43],
    "SK" + NUMBERS[:32],
    "hvs." + LETTERS[:24],
    "dop_v1_" + NUMBERS[:64],
    "https://x.blob.core.windows.net/a?sig=" + LETTERS[:40],
    "eyJ" + LETTERS[:20] + ".eyJ" + LETTERS[:20] + "." + LETTERS[:20],
    "Authorization: Bearer " + LETTERS[:30],
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA " + "PRIVATE KEY-----",
]


@pytest.mark.parametrize("text", LOOKS)
def test_what_looks_like_a_credential_is_found_and_hidden(text):
    assert credentials.kind_in(f"select {text} from")
    hidden = credentials.hide(f"before {text} after", {})
    assert hidden.startswith("before ") and "***" in hidden
    assert not any(part in hidden for part in ("hunter2x", LETTERS[:16], NUMBERS[:16], "IOSFODNN", "MIIE"))


@pytest.mark.parametrize(
    "text",
    [
        "data/raw/penguins.csv",
        "https://example.com/a:b/c@d.csv",
        "s3://bucket/key=1/table.parquet",
        "SELECT password, token FROM users WHERE id = 7",
        "sklearn.ensemble.RandomForestClassifier",
        "column password: 1,234 values are no number",
        "${oc.env:DB_PASSWORD}",
        "postgresql://${oc.env:DB_USER}:${oc.env:DB_PASSWORD}@db/x",
    ],
)
def test_what_does_not_is_left_alone(text):
    assert credentials.literal({"source": {"uri": text}}) is None
    if "${" not in text:
        assert credentials.hide(text, {}) == text


@pytest.mark.parametrize(
    "word, key",
    [
        ("source.password=abc", "source.password"),
        ("source.storage_options={aws_secret_access_key: abc}", "source.storage_options.aws_secret_access_key"),
        ("source.uri=postgresql://bob:" + "hunter2x@db/x", "source.uri"),
        ("description=" + LOOKS[6], "description"),
        ("expectations=[{type: x, kwargs: {token: abc}}]", "expectations[0].kwargs.token"),
    ],
)
def test_a_literal_credential_is_refused_with_the_way_out(word, key):
    from pathlib import Path

    from penguin_classifier.machinery.config.overrides import overrides
    from penguin_classifier.machinery.layout import Layout

    layout = Layout(Path(__file__).parents[1], "penguin_classifier")

    with pytest.raises(ProjectError, match=r"\$\{oc\.env:[A-Z_0-9]+\}$") as refused:
        credentials.refuse_literal(resolve(layout, overrides(layout, ["data=penguins", word], Path(".")))[1])
    assert str(refused.value).startswith(f"{key} holds a") and "hunter2x" not in str(refused.value)


def test_the_environment_is_told_by_its_names(monkeypatch):
    monkeypatch.setenv("PLACE", "eu-central-9")
    monkeypatch.setenv("WAREHOUSE", "postgresql://bob:p%40ss-word@db/x")
    monkeypatch.setenv("SOME_API_TOKEN", "t0ken-value")
    monkeypatch.setenv("UNNAMED", "plain-value")
    values = credentials.hidden({"source": {"uri": "${oc.env:WAREHOUSE}", "region": "${oc.env:PLACE}"}})
    text = "plain-value eu-central-9 postgresql://bob:p%40ss-word@db/x p@ss-word t0ken-value"
    told = "plain-value ${oc.env:PLACE} ${oc.env:WAREHOUSE} *** ${oc.env:SOME_API_TOKEN}"
    assert credentials.hide(text, values) == told
