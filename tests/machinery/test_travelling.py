"""A model with columns that functions derive is saved anew by a stage that has nothing but the model."""

import json
from zipfile import ZIP_DEFLATED, ZipFile

import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from penguin_classifier.machinery.mlflow import model_format
from penguin_classifier.machinery.model.derived import typed

MEAN = "{_target_: penguin_classifier.features.group_mean, of: body_mass_g, by: island}"


def test_the_code_of_a_model_goes_with_it_when_it_is_saved_again(do, outputs, tmp_path):
    assert do("train", "data=penguins", "model=logistic", f"features.derive.mean={MEAN}")[0] == 0
    [folder] = outputs.glob("outputs/train/*/model")
    [table] = outputs.glob("outputs/split/*/table.parquet")
    model = model_format.load(folder)
    rows = typed(pl.read_parquet(table).head(20), model.inputs).to_pandas()
    model_format.save(model, tmp_path / "again", example=rows.head(3), package="penguin_classifier")
    again = model_format.load(tmp_path / "again")
    assert again.predict(rows).equals(model.predict(rows)) and set(again.code) == {"__init__.py", "features.py"}
    assert "polars==" in (tmp_path / "again/requirements.txt").read_text()
    with ZipFile(folder / "model.skops") as file:
        assert {each.compress_type for each in file.infolist()} == {ZIP_DEFLATED}
    with pytest.raises(MlflowException) as refused:
        again.predict(rows.drop(columns="island"))
    refused.value.message = f"Failed to predict data '{rows}'"  # as MLflow's server has it
    assert json.loads(refused.value.serialize_as_json())["message"].startswith("column island missing: the model takes")
