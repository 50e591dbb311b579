"""Which source answers for a data set: its `source: {kind: …}` says."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg

from quality import datasets, references
from quality.datasets import Dataset
from quality.documents import unknown
from quality.errors import ConfigurationError, Refusal
from resources.bar_files.layouts import load_formats
from resources.calendars import open_calendar
from resources.clock import now
from resources.settings import settings
from resources.sources.ccxt_source import CcxtSource, exchanges
from resources.sources.files_source import FilesSource
from resources.sources.http_daily_source import HttpDailySource
from resources.sources.protocol import Source
from resources.sources.sample_source import SampleSource, embedded
from resources.sources.synthetic_source import SyntheticSource


def open_source(dataset: Dataset, *, clock: Callable[[], datetime] = now) -> Source:
    """The source of a data set; nothing is asked of it yet. Raises SourceError."""
    match dataset.source:
        case datasets.SampleSource():
            return SampleSource(dataset.name)
        case datasets.FilesSource():
            return FilesSource(dataset, settings())
        case datasets.CcxtSource() as source:
            return CcxtSource(source, timeframe=dataset.timeframe, clock=clock)
        case datasets.HttpDailySource() as source:
            calendar = open_calendar(dataset.calendar)
            return HttpDailySource(source, calendar=calendar, start=dataset.start, clock=clock)
        case datasets.SyntheticSource() as source:
            calendar = open_calendar(dataset.calendar)
            return SyntheticSource(
                source, calendar=calendar, timeframe=dataset.timeframe, start=dataset.start, clock=clock
            )


def refusals(dataset: Dataset, *, project: Path) -> Iterator[Refusal]:
    """What a data set of `project` asks of its source that it does not have, as far as that is known without asking it."""
    if isinstance(dataset.source, datasets.SampleSource):
        yield from references.of_source(dataset, held=embedded())
    elif isinstance(dataset.source, datasets.CcxtSource) and dataset.source.exchange not in exchanges():
        yield unknown(("source", "exchange"), dataset.source.exchange, exchanges())
    elif isinstance(dataset.source, datasets.FilesSource) and dataset.source.format is not None:
        yield from _of_layout(dataset.source.format, project)


def _of_layout(name: str, project: Path) -> Iterator[Refusal]:
    try:
        known = load_formats(project)
    except ConfigurationError:
        return  # said by who reads the project: which layouts there are is not known until it is mended
    if name not in known:
        yield unknown(("source", "format"), name, known)


class Sources(dg.ConfigurableResource):
    """Opens the source of a data set."""

    def open(self, dataset: Dataset) -> Source:
        return open_source(dataset)
