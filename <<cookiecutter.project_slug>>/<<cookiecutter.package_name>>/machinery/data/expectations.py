"""Great Expectations: a table validated, the result in sentences and as a page."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Collection
from html import escape
from typing import Any

import pandas as pd
import polars as pl

with warnings.catch_warnings(action="ignore"):  # it imports pyspark, where there is one, which is not sure of pandas 3
    import great_expectations as gx
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from ..config import privacy
from ..config.privacy import named
from ..errors import ProjectError, inert

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 1rem auto; padding: 0 1rem; color: #222 }
nav.sticky-top, footer, .collapse:not(:target), .card:has(.btn-group) { display: none }
a[href^=".."] { pointer-events: none; color: inherit; text-decoration: none }
.row:has(> .col-lg-2) { display: flex; gap: 2rem } .col-lg-2 { flex: 0 0 14rem } .col-lg-10 { flex: 1; min-width: 0 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { border: 1px solid #8884; padding: .35rem .6rem; text-align: left; vertical-align: top }
th { background: #8882 }
.badge { background: #8883; border-radius: .3rem; padding: 0 .35rem; font-family: ui-monospace, monospace }
h4, h5, .card-header { font-size: 1.15rem; font-weight: 600; margin: 1.2rem 0 .4rem } ul { padding-left: 1.2rem }
.fa-check-circle::before { content: "\\2713"; color: #1a7f37; font: bold 1.1rem sans-serif }
.fa-times::before, .fa-exclamation-triangle::before { content: "\\2717"; color: #d1242f; font: bold 1.1rem sans-serif }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } a { color: #8ab4f8 } }
"""


def suite(expectations: list[dict[str, Any]]) -> ExpectationSuite:
    """The suite of `expectations`, each {"type": "expect_column_...", "kwargs": {"column": "island", ...}}.

    Raises ProjectError for an unknown type and for a wrong argument.
    """
    whole = ExpectationSuite("expectations")
    for expectation in expectations:
        try:
            whole.add_expectation_configuration(ExpectationConfiguration(**expectation))
        except Exception as error:  # its own, pydantic's and TypeError, by what is wrong
            reason = "; ".join(line.strip() for line in str(error).splitlines()[-4:])
            raise ProjectError(f"expectations: {expectation.get('type', expectation)}: {reason}") from error
    return whole


def frame(table: pl.LazyFrame, expectations: list[dict[str, Any]]) -> pd.DataFrame:
    """`table` (n, d) as a pandas frame; columns that no expectation reads are filled with False.

    It is read column by column, which keeps memory low.
    """
    names = table.collect_schema().names()
    read: set[str] = set()
    for each in expectations:
        kwargs = each.get("kwargs") or {}
        read |= set(names) if "row_condition" in kwargs else named(kwargs, type_=each.get("type", ""))
    rows = table.select(pl.len()).collect().item()
    filler = pd.Series(False, index=range(rows))
    columns = {name: table.select(name).collect().to_series().to_pandas() if name in read else filler for name in names}
    return pd.DataFrame(columns, copy=False)


def validate(frame: Any, suite: ExpectationSuite) -> ExpectationSuiteValidationResult:
    """The result of validating `frame`, of pandas or of Spark, by `suite`."""
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)  # it would leave a folder in /tmp each time
    context = gx.get_context(mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    sources = context.data_sources
    add = sources.add_pandas if isinstance(frame, pd.DataFrame) else sources.add_spark
    asset = add("table").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": frame})
    return batch.validate(suite)


def answer(table: str, expectations: list[dict[str, Any]], sensitive: list[str], read: Any = None) -> dict[str, Any]:
    """What validator.Checked holds, of the rows in the Parquet file `table`, or of what `read` makes of it."""
    rows = read(table) if read else frame(pl.scan_parquet(table), expectations)
    result = masked(validate(rows, suite(expectations)), sensitive)
    texts = {"expectations.html": page(result), "expectations.json": as_json(result)}
    return {"failures": failures(result), "notes": left_out(result), "texts": texts}


def failures(result: ExpectationSuiteValidationResult) -> list[str]:
    """A line for each failed expectation: its column, type and arguments, how many values failed, and examples."""
    return [inert(_failure(each)) for each in result.results if not each.success]


def met(expectations: list[dict[str, Any]], table: pl.LazyFrame) -> list[dict[str, Any]]:
    """The `expectations` that `table` meets; those about the whole table are not tested, and count as met."""
    columns = {at: named(each["kwargs"], type_=each["type"]) for at, each in enumerate(expectations)}
    numbered = [{**expectations[at], "meta": {"at": at}} for at, names in columns.items() if names]
    result = validate(frame(table.select(set().union(*columns.values())), numbered), suite(numbered))
    failed = {(each.expectation_config.meta or {})["at"] for each in result.results if not each.success}  # type: ignore
    return [each for at, each in enumerate(expectations) if at not in failed]


def masked(result: ExpectationSuiteValidationResult, sensitive: Collection[str]) -> ExpectationSuiteValidationResult:
    """A copy of `result` without values of the columns `sensitive`: counts and shares stay, values are removed."""
    result = copy.deepcopy(result)
    for each in result.results:
        config: Any = each.expectation_config
        stated = privacy.stated_values(config.kwargs, type_=config.type, sensitive=sensitive)
        if stated or named(config.kwargs, type_=config.type) & set(sensitive):
            each.result = {name: value for name, value in each.result.items() if name.endswith(("count", "percent"))}
            each.exception_info = {"exception_message": privacy.WITHHELD} if _raised(each) else each.exception_info
            config.kwargs.update(dict.fromkeys(stated, privacy.WITHHELD))
    return result


def left_out(result: ExpectationSuiteValidationResult) -> list[str]:
    """A sentence about what is not shown of a `masked` result; none where all is."""
    hidden = [each.expectation_config for each in result.results if _is_withheld(each)]
    columns = sorted({str(name) for each in hidden if each for name in named(each.kwargs, type_=each.type)})
    what = f"what {len(hidden)} of the expectations say of values of {', '.join(columns)} is left out"
    return [f"{what} (columns.sensitive)"] if hidden else []


def as_json(result: ExpectationSuiteValidationResult) -> str:
    """Great Expectations' `result` as JSON, without what is another one each time."""
    whole, results = result.to_json_dict(), []
    for each in whole["results"]:
        config = each["expectation_config"]
        kwargs = {name: value for name, value in config["kwargs"].items() if name != "batch_id"}
        kept = {name: each[name] for name in ("success", "result", "exception_info")}
        results.append({"type": config["type"], "kwargs": kwargs, **kept})
    return json.dumps({**{name: whole[name] for name in ("success", "statistics")}, "results": results}, indent=2)


def page(result: ExpectationSuiteValidationResult) -> str:
    """Great Expectations' HTML page of `result`, without what it loads from the network."""
    hidden = [each for each in result.results if _is_withheld(each)]  # it would make these again, of no values
    shown = copy.copy(result)
    shown.results = [each for each in result.results if not _is_withheld(each)]
    html = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(shown))
    lines = "".join(f"<li>{escape(_failure(each))}: {'met' if each.success else 'failed'}</li>" for each in hidden)
    html = html.replace("</body>", f"<h4>Values left out</h4><ul>{lines}</ul></body>", 1) if hidden else html
    html = re.sub(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|<!--.*?-->", "", html, flags=re.DOTALL)
    return html.replace("</head>", f"<style>{STYLE}</style></head>", 1)


def _is_withheld(each: Any) -> bool:
    return any(
        isinstance(value, str) and value == privacy.WITHHELD for value in each.expectation_config.kwargs.values()
    )


def _failure(each: Any) -> str:
    config, observed = each.expectation_config, each.result or {}
    kwargs = {name: value for name, value in config.kwargs.items() if name not in ("batch_id", "column")}
    what = f"{config.kwargs.get('column', 'table')}: {config.type} {kwargs}"
    if raised := _raised(each):
        return f"{what}: {raised[0].strip().splitlines()[-1]}"
    if "unexpected_count" in observed:
        different = list(dict.fromkeys(map(repr, observed.get("partial_unexpected_list", []))))[:5]
        examples = f", such as {', '.join(different)}" if different else ""
        return f"{what}: {observed['unexpected_count']} of {observed['element_count']} values{examples}"
    return f"{what}: found {observed.get('observed_value')}"


def _raised(each: Any) -> list[str]:
    return [cause["exception_message"] for cause in _causes(each.exception_info) if cause.get("exception_message")]


def _causes(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Great Expectations gives one cause flat and several by metric."""
    info = info or {}
    return [info] if "exception_message" in info else [cause for cause in info.values() if isinstance(cause, dict)]
