"""The champion once more with its feature tables: Databricks then looks its columns up by their keys when it scores.

    python features.py main.default.churn main.default.labels churned '{"main.default.prices": ["product"]}'

registers main.default.churn_by_key, for rows like those of the second table. A task or notebook of Databricks runs it
after `train`; the library is there, and does not install beside MLflow 3 elsewhere.
"""

import json
import shutil
import sys
from typing import Any

import mlflow
from mlflow.models import Model


class AsItIs:
    """What log_model takes for a flavor: a model's files as they are, so that nothing is pickled."""

    FLAVOR_NAME = "as_it_is"

    @staticmethod
    def save_model(model: str, path: str, mlflow_model: Model, **_: object) -> None:
        shutil.copytree(model, path)
        mlflow_model.flavors = Model.load(path).flavors


def log(client: Any, lookup: Any, rows: Any, *, model: str, label: str, tables: dict[str, list[str]]) -> None:
    """Registers the champion of `model` as one that is asked by keys of `tables`; `rows` have them and the label."""
    lookups = [lookup(table_name=table, lookup_key=keys) for table, keys in tables.items()]
    training_set = client.create_training_set(df=rows, feature_lookups=lookups, label=label)
    folder = mlflow.artifacts.download_artifacts(f"models:/{model}@champion")
    about = {"artifact_path": "model", "flavor": AsItIs, "registered_model_name": f"{model}_by_key"}
    client.log_model(model=folder, training_set=training_set, **about)


if __name__ == "__main__":
    from databricks.feature_engineering import FeatureEngineeringClient, FeatureLookup
    from databricks.sdk.runtime import spark

    name, table, target, lookups = sys.argv[1:]
    mlflow.set_registry_uri("databricks-uc")
    client, rows = FeatureEngineeringClient(), spark.table(table)
    log(client, FeatureLookup, rows, model=name, label=target, tables=json.loads(lookups))
