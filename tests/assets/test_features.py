"""Features kept current: after any sequence of changes the table is the one that is computed at once."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import inputs
from assets.features import compute_features
from assets.inputs_current import features_check
from assets.market_data import resample_sessions
from assets.partitions import Span, partition_of
from quality import tables
from quality.bars import digests
from resources.lake import Lake
from resources.market import calendar_of
from tests.bar_frames import START, random_walk
from tests.fakes import ONE, OTHER, small_dataset
from tests.makers import service_level

N_DAYS, BARS_A_DAY = 12, 24
FIRST = START.date()
LAST = FIRST + timedelta(days=N_DAYS - 1)
DATASET = small_dataset(
    *(ONE, OTHER),
    timeframe="1h",
    resample=["4h", "1d"],
    features={
        "sma_5": {"indicator": "sma", "length": 5},
        "stddev_7": {"indicator": "stddev", "length": 7},
        "ema_3": {"indicator": "ema", "length": 3},
        "rsi_2": {"indicator": "rsi", "length": 2},
        "atr_2": {"indicator": "atr", "length": 2},
        "sma_3_4h": {"indicator": "sma", "length": 3, "timeframe": "4h"},
        "sma_2_1d": {"indicator": "sma", "length": 2, "timeframe": "1d"},
    },
)
PROJECT: Any = SimpleNamespace(sla={"small": service_level()}, corrections={}, datasets={"small": DATASET})
CONTEXT: Any = SimpleNamespace(run=SimpleNamespace(run_id="a run"))
_ACTION = {"instrument": pl.String, "ex_date": pl.Date, "kind": pl.String, "value": pl.Float64}
Held = dict[str, pl.DataFrame]


def day(n: int) -> date:
    return FIRST + timedelta(days=n)


def truth(instrument: str) -> pl.DataFrame:
    """All bars there will ever be."""
    return random_walk("1h", N_DAYS * BARS_A_DAY, seed=len(instrument)).drop("known_at", "factor")


class Kept:
    """A lake with the bars that were received so far, and features as current as the planner would have them."""

    def __init__(self, folder: str | Path) -> None:
        self.lake = Lake(root=str(Path(folder) / "lake"), lock_path=str(Path(folder) / "lock"))
        self.bars: Held = {name: truth(name).head(0) for name in DATASET.ids}
        self.splits: list[tuple[str, date, str, float]] = []
        self.computed: list[date] = []

    def arrive(self, instrument: str, first: int, last: int) -> None:
        """The sessions from `first` to `last`, as they were at first."""
        come = truth(instrument).filter(pl.col("session").is_between(day(first), day(last)))
        self._hold(instrument, pl.concat([self.bars[instrument].join(come, on="ts", how="anti"), come]))

    def restate(self, instrument: str, bar: int, by: float) -> None:
        """A bar's prices are others."""
        moved = pl.col("ts") == START + timedelta(hours=bar)
        prices = [pl.when(moved).then(pl.col(name) * by).otherwise(name).alias(name) for name in ("high", "close")]
        self._hold(instrument, self.bars[instrument].with_columns(prices))

    def withdraw(self, instrument: str, first: int, end: int) -> None:
        """Some bars count no longer, or have not come yet."""
        gone = pl.col("ts").is_between(START + timedelta(hours=first), START + timedelta(hours=end), closed="left")
        self._hold(instrument, self.bars[instrument].filter(~gone))

    def split(self, instrument: str, on: int) -> None:
        if (instrument, day(on)) not in [one[:2] for one in self.splits]:
            self.splits.append((instrument, day(on), "split", 2.0))

    def _hold(self, instrument: str, bars: pl.DataFrame) -> None:
        self.bars[instrument] = bars.sort("ts")

    def write(self) -> None:
        """What was received, as judging leaves it."""
        said, hashed = [], []
        for name, bars in self.bars.items():
            own = {"dataset": pl.lit("small"), "instrument": pl.lit(name), "sequence": pl.lit(0, pl.Int64)}
            said.append(bars.with_columns(**own, filled=pl.lit(value=False)))
            hashed.append(digests(bars).with_columns(**own))
        actions = pl.DataFrame(self.splits, _ACTION, orient="row").with_columns(dataset=pl.lit("small"))
        for table, rows in (("bars", pl.concat(said)), ("digests", pl.concat(hashed)), ("corporate_actions", actions)):
            self.lake.replace(table, rows.select(*tables.table(table).columns), dataset="small")

    def refresh(self) -> None:
        """What is due, as the planner asks for it; then nothing is."""
        self.write()
        if due := self.due():
            self.computed.append(min(due))
            days = Span(min(due), max(due))
            resample_sessions(PROJECT, DATASET, self.lake, days)
            compute_features(CONTEXT, PROJECT, DATASET, self.lake, days)
        assert self.due() == []
        assert features_check(self.lake, PROJECT, DATASET).passed

    def due(self) -> list[date]:
        of = inputs.held(self.lake, DATASET)
        if of.digests.is_empty():
            return []
        sessions = calendar_of(PROJECT, DATASET).sessions(FIRST, LAST)
        wanted, known = inputs.features(PROJECT, DATASET, of, sessions), inputs.recorded(self.lake, "features:small")
        return [one for one in sessions if known.get(key := partition_of(DATASET, one)) != wanted[key]]

    def table(self) -> pl.DataFrame:
        return self.lake.read("features").sort("instrument", "ts")


def at_once(kept: Kept) -> pl.DataFrame:
    """The table computed from nothing, of the bars held now."""
    with TemporaryDirectory() as folder:
        fresh = Kept(folder)
        fresh.bars, fresh.splits = kept.bars, kept.splits
        fresh.refresh()
        return fresh.table()


Change = Callable[[Kept], None]
CHANGES: dict[str, Change] = {
    "a session of both arrives": lambda kept: [kept.arrive(name, 9, 9) for name in DATASET.ids] and None,
    "the next of one alone": lambda kept: kept.arrive(ONE, 10, 10),
    "an old bar is restated": lambda kept: kept.restate(OTHER, 3 * BARS_A_DAY + 5, 1.01),
    "bars are withdrawn": lambda kept: kept.withdraw(ONE, 100, 130),
    "they come late": lambda kept: kept.arrive(ONE, 4, 5),
    "a split is stated afterwards": lambda kept: kept.split(OTHER, 6),
    "the newest session is withdrawn": lambda kept: kept.withdraw(ONE, 10 * BARS_A_DAY, 11 * BARS_A_DAY),
}


@pytest.mark.slow
def test_written_from_the_first_changed_session_on_it_equals_what_is_computed_at_once(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for name in DATASET.ids:
        kept.arrive(name, 0, 8)
    for change in (lambda _: None, lambda _: None, *CHANGES.values()):
        change(kept)
        kept.refresh()
    assert kept.computed == [day(n) for n in (0, 9, 10, 3, 4, 4, 6, 10)]  # where nothing changed, nothing is computed
    assert kept.table().equals(at_once(kept))
    known = kept.table().filter(pl.all_horizontal(pl.col(*DATASET.features).is_not_null()))
    assert known.height > 5 * BARS_A_DAY  # it is not all withheld


NAMES = st.sampled_from(DATASET.ids)
DAY = st.integers(0, N_DAYS - 1)
BAR = st.integers(0, N_DAYS * BARS_A_DAY - 1)
STEPS = st.one_of(
    st.tuples(st.just("arrive"), NAMES, DAY, DAY),
    st.tuples(st.just("restate"), NAMES, BAR, st.floats(0.9, 1.1)),
    st.tuples(st.just("withdraw"), NAMES, BAR, BAR),
    st.tuples(st.just("split"), NAMES, DAY),
)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=3), min_size=1, max_size=5))
def test_any_sequence_of_changes_leaves_the_table_that_is_computed_at_once(nights: list[list[tuple[Any, ...]]]) -> None:
    with TemporaryDirectory() as folder:
        kept = Kept(folder)
        kept.arrive(ONE, 0, 3)
        kept.refresh()
        for night in nights:
            for what, *told in night:
                getattr(kept, what)(*told)
            kept.refresh()
        if any(bars.height for bars in kept.bars.values()):
            assert kept.table().equals(at_once(kept))
