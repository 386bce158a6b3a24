"""A registry with the rules of Unity Catalog, as a plug-in of MLflow: `test-databricks-uc:///file.db`.

What it refuses is what Databricks documents and what MLflow's own client for it refuses.
"""

import re

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

# What MLflow's client adds to each search, but in the real Unity Catalog.
NO_PROMPTS = re.compile(r"(?: AND )?tag\.`mlflow\.prompt\.is_prompt` != 'true'")


def refuse(wrong: bool, what: object) -> None:
    if wrong:
        raise MlflowException(f"Unity Catalog does not take {what!r}", error_code=1000)


class Store(SqlAlchemyStore):
    """Three levels, one condition of a search and no tags in its answers, keys, values and numbers of tags."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__("sqlite" + store_uri.removeprefix("test-databricks-uc"))

    def _check(self, tags: list, there: dict | None = None) -> None:
        for tag in tags or ():
            refuse(bool(re.search(r"[.,\-=/:]", tag.key)) or len(tag.key) > 255 or tag.key != tag.key.strip(), tag.key)
            refuse(len(tag.value) > 1000 or tag.value != tag.value.strip(), f"{tag.key}={tag.value}")
        refuse(len({*(there or ()), *(tag.key for tag in tags or ())}) > 50, "more than 50 tags")

    def create_registered_model(self, name, tags=None, *rest, **more):
        refuse(not re.fullmatch(r"[^./ ]+\.[^./ ]+\.[^./ ]+", name), name)
        self._check(tags)
        return super().create_registered_model(name, tags, *rest, **more)

    def create_model_version(self, name, source, run_id=None, tags=None, *rest, **more):
        self._check(tags)
        return super().create_model_version(name, source, run_id, tags, *rest, **more)

    def set_registered_model_tag(self, name, tag):
        self._check([tag], self.get_registered_model(name).tags)
        super().set_registered_model_tag(name, tag)

    def set_model_version_tag(self, name, version, tag):
        self._check([tag], self.get_model_version(name, version).tags)
        super().set_model_version_tag(name, version, tag)

    def set_registered_model_alias(self, name, alias, version):
        refuse(alias == "latest", alias)
        super().set_registered_model_alias(name, alias, version)

    def search_registered_models(self, filter_string=None, *rest, **more):
        refuse(bool(NO_PROMPTS.sub("", filter_string or "")), filter_string)
        return super().search_registered_models(filter_string, *rest, **more)

    def search_model_versions(self, filter_string=None, *rest, **more):
        asked = NO_PROMPTS.sub("", filter_string or "")
        refuse(not re.fullmatch(r"(name|run_id)\s*=\s*'[^']+'", asked), filter_string)
        found = super().search_model_versions(filter_string, *rest, **more)
        for each in found:
            assert isinstance(each, ModelVersion)
            each._tags, each._aliases = {}, []
        return found
