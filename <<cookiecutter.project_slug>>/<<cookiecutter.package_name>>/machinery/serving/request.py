"""Rows as a request to a served model."""

from __future__ import annotations

import json

import pandas as pd

EXAMPLES = "reference.json"  # among a model's files: `examples`, a request, and `answers` that it got in training


def request(frame: pd.DataFrame) -> bytes:
    """The rows of `frame` as MLflow's scoring server takes them: every digit of a number, nulls, dates as ISO 8601.

    Source: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
    """
    plain = frame.astype(object).where(frame.notna(), None)
    split = {"columns": list(plain.columns), "data": plain.to_numpy().tolist()}
    dated = json.dumps({"dataframe_split": split}, default=lambda date: date.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    return dated.encode()
