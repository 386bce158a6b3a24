"""A model with columns that functions derive is saved anew by a stage that has nothing but the model."""

import polars as pl
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
