"""Which kind of source answers for a data set: its `source: {kind: …}` says."""

from collections.abc import Collection, Mapping
from typing import Protocol

import dagster as dg

from quality.datasets import Dataset
from resources.errors import UnknownSourceKindError
from resources.sources.protocol import Source
from resources.sources.sample_source import SampleSource, embedded

_KINDS = {"sample": SampleSource}
_HELD = {"sample": embedded}


class SourceChoice(Protocol):
    @property
    def kind(self) -> str: ...


def open_source(choice: SourceChoice, *, dataset: str) -> Source:
    if choice.kind not in _KINDS:
        raise UnknownSourceKindError(choice.kind, _KINDS)
    return _KINDS[choice.kind](dataset)


def held(choice: SourceChoice) -> Mapping[str, Collection[str]]:
    """All that a source has, as ids of instruments by data set, without reading any bars."""
    if choice.kind not in _HELD:
        raise UnknownSourceKindError(choice.kind, _HELD)
    return _HELD[choice.kind]()


class Sources(dg.ConfigurableResource):
    """Opens the source of a data set."""

    def open(self, dataset: Dataset) -> Source:
        return open_source(dataset.source, dataset=dataset.name)
