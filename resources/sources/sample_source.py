"""The embedded sample as a source: files in this package, read and never written.

`sample/<data set>/<instrument>.parquet` holds an instrument's bars and `sample/<data set>/actions.csv`,
where there is one, the splits and dividends of all. `sample/README.md` says where they came from. A
bar's session is the date of its `ts`, which holds for round-the-clock and for daily bars alike.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from importlib.resources import files
from importlib.resources.abc import Traversable

import polars as pl

from resources.errors import UnknownInstrumentError, UnknownSampleError
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument

_SAMPLE = files("resources.sources") / "sample"
_SESSION = pl.col("ts").dt.date()


def embedded() -> dict[str, set[str]]:
    """The ids of the instruments that are there, by data set; from the names of the files, none of which is opened."""
    return {folder.name: set(_bars_of(folder)) for folder in _SAMPLE.iterdir() if folder.is_dir()}


class SampleSource:
    def __init__(self, dataset: str) -> None:
        known = embedded()
        if dataset not in known:
            raise UnknownSampleError(dataset, known)
        self._dataset = dataset
        self._files = _bars_of(_SAMPLE / dataset)

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        self._require_known(instrument.id)
        rows = (
            self._read(instrument.id)
            .filter(_SESSION.is_between(first, last))
            .with_row_index("line")
            .match_to_schema(RECEIVED, integer_cast="upcast")
        )
        origin = f"resources/sources/sample/{self._dataset}/{instrument.id}.parquet"
        yield Delivery(instrument.id, rows, origin, first, last)

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        wanted = [instrument.id for instrument in instruments]
        for instrument in wanted:
            self._require_known(instrument)
        file = _SAMPLE / self._dataset / "actions.csv"
        if not file.is_file():
            return ACTIONS.to_frame()
        return pl.read_csv(file.read_bytes(), schema=ACTIONS).filter(pl.col("instrument").is_in(wanted))

    def last_session(self) -> date:
        newest: date = max(self._read(instrument).select(_SESSION.max()).item() for instrument in self._files)
        return newest

    def settle(self) -> None:
        pass

    def _read(self, instrument: str) -> pl.DataFrame:
        with self._files[instrument].open("rb") as file:
            return pl.read_parquet(file)

    def _require_known(self, instrument: str) -> None:
        if instrument not in self._files:
            raise UnknownInstrumentError(instrument, f"the embedded sample {self._dataset}", self._files)


def _bars_of(folder: Traversable) -> dict[str, Traversable]:
    return {file.name.removesuffix(".parquet"): file for file in folder.iterdir() if file.name.endswith(".parquet")}
