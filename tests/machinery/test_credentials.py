import pytest
from penguin_classifier.machinery.config import credentials
from penguin_classifier.machinery.config.compose import resolve
from penguin_classifier.machinery.errors import ProjectError

NUMBERS = "0123456789" * 8
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MIXED = "a1B2c3D4e5F6g7H8i9J0" * 6
UUID = "01234567-89ab-cdef-0123-" + "456789abcdef"
PLANTED = "hunter2x"
LOOKS = [  # put together here, so that no scanner takes them for real ones
    "postgresql://bob:" + "hunter2x@db/x",
    "Postgres://bob:" + "hunter2x@db/x",
    "postgres://bob@corp.com:" + "hunter2x@db/x",
    "mysql://bob:" + "hunt/hunter2x@db:3306/x",
    "rediss://:" + "hunter2x@db:6379/0",
    "https://" + MIXED[:32] + "@sentry.example.com/4",
    "https://" + LETTERS[:24] + ":@api.example.com/v1",
    "https://" + MIXED[:24] + ":x-oauth-basic@git.example.com/a.git",
    "host=db password=" + "hunter2x",
    "Server=db;Uid=bob;Pwd=" + "hunter2x;",
    '{"password": "' + 'hunter2x"}',
    '{"secretAccessKey": "' + 'hunter2x"}',
    "machine db login bob password " + PLANTED,
    "DefaultEndpointsProtocol=https;AccountKey=" + LETTERS,
    "Endpoint=sb://x;SharedAccessKey=" + LETTERS,
    "https://x.blob.core.windows.net/a?sig=" + LETTERS[:40],
    "https://x.blob.core.windows.net/a?se=1&Sig=" + LETTERS[:40],
    "https://b.s3.amazonaws.com/a?X-Amz-Signature=" + NUMBERS[:64],
    "https://b.s3.amazonaws.com/a?Signature=" + LETTERS[:28],
    "https://example.com/a.csv?api_key=" + LETTERS[:20],
    "Authorization: Bearer " + MIXED[:30],
    "Authorization: BASIC " + MIXED[:30],
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA " + "PRIVATE KEY-----",
    "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nMIIE",
    "PuTTY-User-" + "Key-File-3: ssh-ed25519\nMIIE",
]
SHAPES = {  # {what comes before: what follows}
    **dict.fromkeys(["AK" + "IA", "AS" + "IA"], "IOSFODNN7EXAMPLE"),
    "AI" + "za": MIXED[:35],
    "ya" + "29.": MIXED[:40],
    "GOC" + "SPX-": MIXED[:28],
    "LT" + "AI": MIXED[:20],
    "AB" + "SK": MIXED[:110],
    MIXED[:76] + "AZ": "DO" + MIXED[:4],
    "abc8" + "Q~": MIXED[:34],
    **dict.fromkeys(["da" + "pi", "SK"], NUMBERS[:32]),
    **dict.fromkeys(["dop_" + "v1_", "doo_" + "v1_"], NUMBERS[:64]),
    **dict.fromkeys(["HRKU" + "-", "nf" + "p_", "tskey" + "-auth-", "vc" + "p_"], MIXED[:40]),
    **dict.fromkeys(["hv" + "s.", "hv" + "b.", MIXED[:14] + ".atlas" + "v1."], MIXED[:60]),
    **dict.fromkeys(["gh" + "p_", "gh" + "s_", "github_" + "pat_", "hf" + "_", "npm" + "_"], MIXED[:36]),
    **dict.fromkeys(["gl" + "pat-", "gl" + "dt-", "gl" + "rt-"], MIXED[:20]),
    **dict.fromkeys(["AT" + "ATT3", "AT" + "CTT3", "AT" + "BB", "pyp" + "i-", "AK" + "Cp"], MIXED[:64]),
    **dict.fromkeys(["rubygems" + "_", "sk" + "_"], NUMBERS[:48]),
    **dict.fromkeys(["dckr_" + "pat_", "dckr_" + "oat_", "CCI" + "PAT_", "bk" + "ua_"], MIXED[:30]),
    **dict.fromkeys(["pu" + "l-", "sb" + "p_"], NUMBERS[:40]),
    **dict.fromkeys(["dp." + "pt.", "dp." + "st.prd.", "pn" + "u_", "db" + "tc_"], MIXED[:43]),
    **dict.fromkeys(["sk" + "-", "sk" + "-ant-api03-", "sk" + "-proj-", "sk" + "-or-v1-"], MIXED[:48]),
    **dict.fromkeys(["gs" + "k_", "xa" + "i-", "pp" + "lx-", "r8" + "_", "nva" + "pi-", "fw" + "_"], MIXED[:40]),
    **dict.fromkeys(["pcs" + "k_", "lsv2" + "_pt_", "lsv2" + "_sk_", "wandb_" + "v1_"], MIXED[:50]),
    **dict.fromkeys(["xox" + "b-", "xox" + "p-", "xa" + "pp-1-"], NUMBERS[:24]),
    "https://hooks.slack.com/" + "services/": "T0/B0/" + MIXED[:24],
    "https://x.webhook." + "office.com/": "webhookb2/" + MIXED[:30],
    "https://discord.com/" + "api/webhooks/": "1/" + MIXED[:60],
    "123456789" + ":AA": MIXED[:33],
    "SG" + ".": MIXED[:22] + "." + MIXED[:43],
    "ke" + "y-": NUMBERS[:32],
    NUMBERS[:32]: "-u" + "s12",
    **dict.fromkeys(["sk" + "_live_", "rk" + "_live_", "sk" + "_test_", "wh" + "sec_", "sq0" + "atp-"], MIXED[:24]),
    "EA" + "AA": MIXED[:60],
    "shp" + "at_": NUMBERS[:32],
    **dict.fromkeys(["gl" + "sa_", "gl" + "c_", "NR" + "AK-", "sntr" + "ys_", "ph" + "x_"], MIXED[:40]),
    "dt0" + "c01.": "A" * 24 + "." + "B" * 64,
    **dict.fromkeys(["pscale_" + "tkn_", "pscale_" + "pw_", "ntn" + "_", "secret" + "_"], MIXED[:43]),
    **dict.fromkeys(["lin_" + "api_", "fig" + "d_", "sg" + "p_"], MIXED[:40]),
    "PM" + "AK-": NUMBERS[:24] + "-" + NUMBERS[:34],
    "pa" + "t": MIXED[:14] + "." + NUMBERS[:64],
    "pat" + "-eu1-": UUID,
    "sk" + ".eyJ": MIXED[:40] + "." + MIXED[:22],
    "ey" + "J": LETTERS[:20] + ".eyJ" + LETTERS[:20] + "." + LETTERS[:20],
    "AGE-SECRET" + "-KEY-1": "Q" * 58,
}


@pytest.mark.parametrize("text", [*LOOKS, *(before + after for before, after in SHAPES.items())])
def test_what_looks_like_a_credential_is_found_and_hidden(text):
    assert credentials.kind_in(f"select {text} from")
    assert credentials.literal({"tags": {text: "x"}}), "as a key"
    hidden = credentials.hide(f"before {text} after", {})
    assert hidden.startswith("before ") and "***" in hidden
    assert not any(part in hidden for part in (PLANTED, LETTERS[:16], NUMBERS[:16], MIXED[:14], "IOSFODNN", "MIIE"))


@pytest.mark.parametrize(
    "text",
    [
        "data/raw/penguins.csv",
        "https://example.com/a:b/c@d.csv",
        "https://example.com:8443/a@b.csv",
        "abfss://container0123456789abcdef@account.dfs.core.windows.net/a.parquet",
        "https://example.com/a.csv?key=7&page=2",
        "s3://bucket/key=1/table.parquet",
        "SELECT password, token FROM users WHERE id = 7",
        "SELECT a.x FROM a JOIN b ON a.access_token = b.access_token",
        "sklearn.ensemble.RandomForestClassifier",
        "column password: 1,234 values are no number",
        "a basic characterisation of penguins, bearer of transponders",
        "sk-learn-based-pipeline-of-penguins task-0123456789abcdef0123",
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904",  # a commit
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "d41d8cd98f00b204e9800998ecf8427e",
        "fw_average_speed_of_the_wind glc_mean_of_the_last_three_measures lin_api_calls_in_the_last_thirty_days",
        "ATATTGCCATTGACCATTAGACCATGGATTACAGGA",
        "m-" + NUMBERS[:32],
        UUID,
        "models:/penguin-classifier-penguins@champion",
        "${oc.env:DB_PASSWORD}",
        "Bearer ${oc.env:TOKEN}",
        "postgresql://${oc.env:DB_USER}:${oc.env:DB_PASSWORD}@db/x",
        "postgresql://warehouse_reader:${oc.env:DB_PASSWORD}@db/x",
    ],
)
def test_what_does_not_is_left_alone(text):
    assert credentials.literal({"source": {"uri": text}}) is None
    assert credentials.hide(text, {}) == text


@pytest.mark.parametrize(
    "key",
    "x-api-key accessToken DB_PASS apiKey AZURE_STORAGE_SAS_TOKEN secretAccessKey PRIVATE-TOKEN aws_secret_access_key "
    "clientSecret Authorization passphrase connectionString apikey tokens".split(),
)
def test_keys_of_credentials_are_told_however_they_are_spelt(key):
    for value in ("abc", 1234567, "${oc.env:X,abc}", "${oc.env:X,${oc.env:Y,abc}}", ["abc"]):
        assert credentials.literal({"source": {"options": {key: value}}})[1] == "a credential by its name", value
    for value in (
        None,
        True,
        "env",
        "${oc.env:X}",
        "Bearer ${oc.env:X}",
        "${oc.env:X,null}",
        "${oc.env:X,${oc.env:Y}}",
    ):
        assert credentials.literal({"source": {"options": {key: value}}}) is None, value


@pytest.mark.parametrize("key", ["sort_key", "key", "token_pattern", "max_passes", "tokenizer", "author", "design"])
def test_other_keys_are_not(key):
    assert credentials.literal({"source": {key: "abc"}}) is None
    assert credentials.literal({"features": {"kinds": {"password": "category"}}}) is None, (
        "of a column that is so called"
    )


@pytest.mark.parametrize(
    "word, key",
    [
        ("source.password=abc", "source.password"),
        ("source.storage_options={aws_secret_access_key: abc}", "source.storage_options.aws_secret_access_key"),
        ("source.storage_options={x-api-key: abc}", "source.storage_options.x-api-key"),
        ("source.uri=postgresql://bob:" + "hunter2x@db/x", "source.uri"),
        ("description=" + "gh" + "p_" + MIXED[:36], "description"),
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


@pytest.mark.parametrize(
    "line, name",
    [
        ("+password: hunter2x", "password"),
        ("+export DB_PASS=hunter2x", "DB_PASS"),
        ("+  x-api-key: 'hunter2x'", "x-api-key"),
        ('+    "clientSecret": "hunter2x",', "clientSecret"),
        ('-API_KEY: str = "hunter2x"', None),
    ],
)
def test_a_line_of_a_file_states_one(line, name):
    assert credentials.line_in(f"+a: 1\n{line}\n", code=False) == (name or "API_KEY")
    quoted = "hunter2x'" in line or 'hunter2x"' in line
    assert bool(credentials.line_in(line, code=True)) is quoted


def test_lines_that_state_none_are_left_alone():
    text = "password: ${oc.env:X}\ntoken:\nauth: null\nkey: [id]\nsecret_sauce: x\n"
    assert credentials.line_in(text, code=False) is None
    assert (
        credentials.line_in("token = read(path)\nself.password = password\ndef f(token: str) -> str:\n", code=True)
        is None
    )
