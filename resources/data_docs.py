"""Data Docs: what the data sets keep of what was promised, as pages to browse, made by Great Expectations.

1. The measures of every judged session are counted in the warehouse, one instrument after another
   (`quality/expectations.py`), so that memory does not grow with the history.
2. Great Expectations holds the frame against the suites of each data set.
3. The pages are written beside the old ones, freed of what differs between two equal runs, and
   swapped in.

Great Expectations takes seconds to import, so nothing that a terminal's night or the code location
loads may import it; it is used as a library, with its state in memory and nothing sent anywhere.
Why it works on frames and not on DuckDB: `docs/decisions/0006-great-expectations.md`.
"""

import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from quality.datasets import Dataset
from quality.expectations import Expectation, Suite, measures_query, parameters, suites
from resources.errors import UnjudgedExpectationError
from resources.project import Project
from resources.warehouse import Warehouse, ask_frame

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

_BODY = re.compile(r"<body[^>]*>")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WHEN_LOADED = re.compile(r"\d{8}T(?!000000\.000000)\d{6}\.\d{6}Z")
"""The clock at which a frame was handed over; the run itself is told by its newest session, at midnight."""

_COUNTED_IMAGE = re.compile(r'src="https?://[^"]*\.png\?d=[^"]*"')
"""A picture whose address carries the time, so that whoever serves it sees every look at a page."""


class Outcome(NamedTuple):
    """One expectation, held against every session it is of."""

    suite: str
    column: str
    enforced: bool
    n_checked: int
    broken: tuple[tuple[str, str], ...]  # instrument and session


class Report(NamedTuple):
    page: Path  # to open first
    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes if one.broken)

    @property
    def passed(self) -> bool:
        """Whether everything enforced was kept."""
        return not any(one.enforced for one in self.broken)


class DataDocs(dg.ConfigurableResource):
    path: str

    def build(self, warehouse: Warehouse, project: Project) -> Report:
        """Hold the warehouse against every suite and swap the pages in.

        Raises:
            NoWarehouseError: nothing was built yet.
            UnjudgedExpectationError: Great Expectations failed on one, so there is no verdict.
        """
        fresh = Path(self.path).with_suffix(".building")
        shutil.rmtree(fresh, ignore_errors=True)
        measured = [(dataset, _measures(warehouse, project, dataset)) for dataset in project.datasets.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library, about the library
            context = _context(fresh)
            outcomes = [
                outcome
                for dataset, frame in measured
                if len(frame)
                for outcome in _hold(context, project, dataset, frame)
            ]
            context.build_data_docs()
        for page in fresh.rglob("*.html"):
            page.write_text(_same_every_time(page.read_text(encoding="utf-8")), encoding="utf-8")
        _add_contents(fresh, outcomes)
        _swap(fresh, Path(self.path))
        return Report(Path(self.path) / "index.html", tuple(outcomes))


def _measures(warehouse: Warehouse, project: Project, dataset: Dataset) -> "pd.DataFrame":
    import pandas as pd

    policy = project.sla[dataset.sla]
    query = measures_query(policy)
    with warehouse.reader() as connection:
        frames = [
            ask_frame(connection, query, parameters(dataset, policy, instrument.id))
            for instrument in dataset.instruments
        ]
    return pd.concat(frames, ignore_index=True)


def _context(folder: Path) -> Any:
    """Everything in memory but the pages. Given a configuration, the library looks for none of its own on the disk."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }
    configuration = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"gauntlet": site},
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=configuration)


def _hold(context: Any, project: Project, dataset: Dataset, frame: "pd.DataFrame") -> Iterator[Outcome]:
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    newest = str(frame["session"].max())
    run = RunIdentifier(run_name=newest, run_time=datetime.fromisoformat(newest).replace(tzinfo=UTC))
    source = context.data_sources.add_pandas(dataset.name)
    sessions = source.add_dataframe_asset("sessions").add_batch_definition_whole_dataframe("all")
    for suite in suites(dataset.name, project.sla[dataset.sla]):
        expected = gx.ExpectationSuite(name=suite.name, notes=suite.about)
        for expectation in suite.expectations:
            expected.add_expectation(_between(expectation))
        judged = gx.ValidationDefinition(name=suite.name, data=sessions, suite=context.suites.add(expected))
        validation = context.validation_definitions.add(judged).run(
            batch_parameters={"dataframe": frame},
            run_id=run,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": ["instrument", "session"],
                "return_unexpected_index_query": False,
            },
        )
        yield from _outcomes(suite, validation.results)


def _between(expectation: Expectation) -> Any:
    from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
    from great_expectations.expectations.metadata_types import FailureSeverity

    since = [f'session >= "{expectation.first}"'] if expectation.first else []
    before = [f'session < "{expectation.end}"'] if expectation.end else []
    return ExpectColumnValuesToBeBetween(
        column=expectation.column,
        min_value=expectation.at_least,
        max_value=expectation.at_most,
        severity=FailureSeverity.CRITICAL if expectation.enforced else FailureSeverity.WARNING,
        notes=expectation.why,
        row_condition=" and ".join(since + before) or None,
        condition_parser="pandas" if since or before else None,
    )


def _outcomes(suite: Suite, results: Any) -> Iterator[Outcome]:
    for expectation, result in zip(suite.expectations, results, strict=True):
        if result.expectation_config.kwargs["column"] != expectation.column or "element_count" not in result.result:
            raise UnjudgedExpectationError(suite.name, expectation.column, str(result.exception_info))
        places = result.result.get("unexpected_index_list") or ()
        broken = tuple((str(one["instrument"]), str(one["session"])) for one in places)
        yield Outcome(suite.name, expectation.column, expectation.enforced, int(result.result["element_count"]), broken)


def _same_every_time(page: str) -> str:
    """Identifiers numbered by their first mention, no clock, and no pictures that count who looks at them."""
    numbers: dict[str, str] = {}
    page = _WHEN_LOADED.sub("", _COUNTED_IMAGE.sub('src=""', page))
    return _UUID.sub(lambda found: numbers.setdefault(found[0], f"id-{len(numbers) + 1}"), page)


def _add_contents(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """A list of the suites on the first page, whose own is drawn by scripts that only a network has."""
    by_suite: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_suite.setdefault(one.suite, []).append(one)
    items = []
    for suite, of_suite in by_suite.items():
        (page,) = folder.joinpath("validations", *suite.split(".")).rglob("*.html")
        broken = sum(bool(one.broken) for one in of_suite)
        items.append(
            f'<li><a href="{page.relative_to(folder).as_posix()}">{suite}</a>: '
            f"{len(of_suite) - broken} of {len(of_suite)} expectations kept</li>"
        )
    first = folder / "index.html"
    listed = f"<h1>Data sets</h1><ul>{''.join(items)}</ul>"
    first.write_text(
        _BODY.sub(lambda body: body[0] + listed, first.read_text(encoding="utf-8"), count=1), encoding="utf-8"
    )


def _swap(fresh: Path, path: Path) -> None:
    old = path.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)  # noqa: PTH105 - as in the warehouse
    os.replace(fresh, path)  # noqa: PTH105
    shutil.rmtree(old, ignore_errors=True)
