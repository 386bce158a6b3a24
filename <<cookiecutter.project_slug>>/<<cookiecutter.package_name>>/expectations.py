"""A table held to Great Expectations, and what came of it in words and as a page."""

from __future__ import annotations

import re
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from .errors import Refused

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
body { color: #222; background: #fff }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { border: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top }
th { background: #f4f4f4 } h1, h2, h3, h4, h5 { margin: 1.2rem 0 .4rem } ul { padding-left: 1.2rem }
.badge { background: #eee; border-radius: .3rem; padding: 0 .35rem; font-family: ui-monospace, monospace }
.text-success { color: #1a7f37 } .text-danger { color: #b42318 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } th { background: #262626 }
  th, td { border-color: #444 } .badge { background: #333 }
  .text-success { color: #56d364 } .text-danger { color: #ff7b72 } }
"""


def suite(expectations: list[dict[str, Any]]) -> ExpectationSuite:
    """The suite of `expectations`, each {type, kwargs}. Raises Refused for an unknown type and for a wrong argument."""
    whole = ExpectationSuite("expectations")
    for expectation in expectations:
        try:
            whole.add_expectation_configuration(ExpectationConfiguration(**expectation))
        except Exception as error:  # its own, pydantic's and TypeError, by what is wrong
            reason = "; ".join(line.strip() for line in str(error).splitlines()[-4:])
            raise Refused(f"expectations: {expectation.get('type', expectation)}: {reason}") from error
    return whole


def validate(frame: pd.DataFrame, suite: ExpectationSuite) -> ExpectationSuiteValidationResult:
    """The result of holding `frame` to `suite`."""
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)  # it would leave a folder in /tmp each time
    context = gx.get_context(mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=stores))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("table").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": frame})
    return batch.validate(suite)


def failures(result: ExpectationSuiteValidationResult) -> list[str]:
    """A line for each failed expectation: its column, type and arguments, how many values failed, and examples."""
    return [_failure(each) for each in result.results if not each.success]


def page(result: ExpectationSuiteValidationResult) -> str:
    """Great Expectations' own HTML page of `result`, without what it would load from elsewhere."""
    html = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))
    html = re.sub(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>|<!--.*?-->", "", html, flags=re.DOTALL)
    return html.replace("</head>", f"<style>{STYLE}</style></head>", 1)


def _failure(each: Any) -> str:
    config, found = each.expectation_config, each.result or {}
    kwargs = {name: value for name, value in config.kwargs.items() if name not in ("batch_id", "column")}
    what = f"{config.kwargs.get('column', 'table')}: {config.type} {kwargs}"
    raised = [cause["exception_message"] for cause in _causes(each.exception_info) if cause.get("exception_message")]
    if raised:
        return f"{what}: {raised[0].strip().splitlines()[-1]}"
    if "unexpected_count" in found:
        examples = ", ".join(repr(value) for value in found.get("partial_unexpected_list", [])[:5])
        return f"{what}: {found['unexpected_count']} of {found['element_count']} values" + (
            f": {examples}" if examples else ""
        )
    return f"{what}: found {found.get('observed_value')}"


def _causes(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Great Expectations gives one cause flat and several by metric."""
    info = info or {}
    return [info] if "exception_message" in info else [cause for cause in info.values() if isinstance(cause, dict)]
