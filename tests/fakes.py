"""Hand-written stand-ins for the outside world, and the small data set they answer for."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import polars as pl

from quality.datasets import Dataset
from resources.errors import UnknownInstrumentError
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument

ONE, OTHER = "ONE.TEST", "OTHER.TEST"


class FakeSource:
    """A source that holds the bars it was given (`ts open high low close volume`, by instrument)."""

    def __init__(self, bars: Mapping[str, pl.DataFrame], *, actions: pl.DataFrame | None = None) -> None:
        columns = [name for name in RECEIVED if name != "line"]
        self._bars = {instrument: frame.select(columns) for instrument, frame in bars.items()}
        self._actions = ACTIONS.to_frame() if actions is None else actions
        self.settled = 0

    def restate(self, instrument: str, changed: pl.DataFrame) -> None:
        """From now on it says `changed` about the bars of the same ts, and what it said before about all others."""
        held = self._bars[instrument]
        kept = held.join(changed, on="ts", how="anti")
        self._bars[instrument] = pl.concat([kept, changed.select(held.columns)]).sort("ts")

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        self._require_known(instrument.id)
        asked = self._bars[instrument.id].filter(pl.col("ts").dt.date().is_between(first, last))
        rows = asked.with_row_index("line").match_to_schema(RECEIVED, integer_cast="upcast")
        yield Delivery(instrument.id, rows, f"fake/{instrument.id}", first, last)

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        wanted = [instrument.id for instrument in instruments]
        for instrument in wanted:
            self._require_known(instrument)
        return self._actions.filter(pl.col("instrument").is_in(wanted)).sort("instrument", "ex_date", "kind")

    def last_session(self) -> date | None:
        days = [frame["ts"].dt.date().max() for frame in self._bars.values()]
        return max((day for day in days if isinstance(day, date)), default=None)

    def settle(self) -> None:
        self.settled += 1

    def _require_known(self, instrument: str) -> None:
        if instrument not in self._bars:
            raise UnknownInstrumentError(instrument, "the fake source", self._bars)


def small_dataset(*instruments: str, **changes: Any) -> Dataset:
    """Daily bars around the clock from 2020-01-01 on, for ONE.TEST where nothing else is said."""
    terms = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
    document = {
        "schema": 1,
        "name": "small",
        "source": {"kind": "sample"},
        "calendar": "24/7",
        "volume": "traded",
        "timeframe": "1d",
        "resample": [],
        "start": date(2020, 1, 1),
        "sla": "small",
        "instruments": [{"id": name, "symbol": name.lower(), **terms} for name in instruments or (ONE,)],
    }
    return Dataset.model_validate({**document, **changes})
