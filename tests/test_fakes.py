"""The fake source keeps what every source must."""

from datetime import date

import polars as pl
import pytest

from resources.sources.protocol import ACTIONS, Source
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource
from tests.resources.source_suite import Facts, Named, SourceSuite


class TestFakeSource(SourceSuite):
    @pytest.fixture
    def source(self) -> Source:
        bars = {ONE: random_walk("1h", 240, seed=1), OTHER: random_walk("1h", 240, seed=2)}
        stated = [(OTHER, date(2020, 1, 2), "dividend", 0.5), (ONE, date(2020, 1, 3), "split", 2.0)]
        return FakeSource(bars, actions=pl.DataFrame(stated, schema=ACTIONS, orient="row"))

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instrument=Named(ONE, "one"),
            instruments=(ONE, OTHER),
            first=date(2020, 1, 2),
            last=date(2020, 1, 6),
            n_rows=5 * 24,
            never=date(2019, 12, 31),
            n_actions=2,
        )


def test_what_is_restated_replaces_the_bars_of_the_same_ts_and_no_other() -> None:
    held = random_walk("1d", 5, seed=1)
    source = FakeSource({ONE: held})
    source.restate(ONE, held[2:3].with_columns(close=pl.lit(1.0)))
    closes = source.fetch(Named(ONE, "one"), first=date(2020, 1, 1), last=date(2020, 1, 5)).rows["close"].to_list()
    assert closes == [*held["close"][:2], 1.0, *held["close"][3:]]
