"""What anybody would try first: histogram gradient boosting over ordinal codes, on the project's own split."""

import json
from pathlib import Path

import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.preprocessing import OrdinalEncoder


def newest(outputs: Path, stage: str) -> Path:
    """The folder of the newest output of `stage`."""
    return max((outputs / stage).glob("*/outcome.json"), key=lambda path: path.stat().st_mtime).parent


def score(outputs: str, target: str, metric: str, positive: str | None) -> str:
    """JSON: its score by `metric` (roc_auc, accuracy or r2), the project's own, and the rows and features of both."""
    facts = json.loads((newest(Path(outputs), "train") / "outcome.json").read_text())["outcome"]["facts"]
    ours = json.loads((newest(Path(outputs), "evaluate") / "outcome.json").read_text())["outcome"]["facts"]["test"][
        metric
    ]
    table = pl.read_parquet(newest(Path(outputs), "split") / "table.parquet")
    names = list(facts["kinds"])
    texts = [name for name in names if table[name].dtype in (pl.String, pl.Boolean, pl.Null)]
    plain = table.select(
        pl.col(name).cast(pl.String) if name in texts else pl.col(name).to_physical().cast(pl.Float64) for name in names
    ).to_pandas()
    train, test = (table["split"] == side for side in ("train", "test"))
    if texts:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        encoder.fit(plain.loc[train.to_numpy(), texts])
        plain[texts] = encoder.transform(plain[texts])
    answers = table[target].cast(pl.Float64).to_numpy() if metric == "r2" else table[target].cast(pl.String).to_numpy()
    kind = HistGradientBoostingRegressor if metric == "r2" else HistGradientBoostingClassifier
    model = kind(random_state=0).fit(plain[train.to_numpy()].astype(float), answers[train.to_numpy()])
    rows, known = plain[test.to_numpy()].astype(float), answers[test.to_numpy()]
    if metric == "roc_auc":
        positive = positive.lower() if table[target].dtype == pl.Boolean else positive  # as polars writes it
        column = list(model.classes_).index(positive)
        theirs = roc_auc_score(known == positive, model.predict_proba(rows)[:, column])
    else:
        theirs = (r2_score if metric == "r2" else accuracy_score)(known, model.predict(rows))
    return json.dumps({"ours": ours, "theirs": theirs, "rows": len(table), "features": len(names), "test": len(rows)})
