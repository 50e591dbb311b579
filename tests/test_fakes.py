"""The fake source keeps what every source must."""

from datetime import date

import polars as pl
import pytest

from resources.sources.protocol import ACTIONS
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource
from tests.resources.sources.suite import Facts, Opened, SourceSuite, named


class TestFakeSource(SourceSuite):
    @pytest.fixture
    def opened(self) -> Opened:
        bars = {ONE: random_walk("1h", 240, seed=1), OTHER: random_walk("1h", 240, seed=2)}
        stated = [(OTHER, date(2020, 1, 2), "dividend", 0.5), (ONE, date(2020, 1, 3), "split", 2.0)]
        return lambda: FakeSource(bars, actions=pl.DataFrame(stated, schema=ACTIONS, orient="row"))

    @pytest.fixture
    def facts(self) -> Facts:
        return Facts(
            instruments=(named(ONE, "one"), named(OTHER, "other")),
            first=date(2020, 1, 2),
            last=date(2020, 1, 6),
            n_rows=5 * 24,
            never=date(2019, 12, 31),
            n_actions=2,
            offered=(ONE, OTHER),
        )


def test_what_is_restated_replaces_the_bars_of_the_same_ts_and_no_other() -> None:
    held = random_walk("1d", 5, seed=1)
    source = FakeSource({ONE: held})
    source.restate(ONE, held[2:3].with_columns(close=pl.lit(1.0)))
    (delivery,) = source.deliveries(named(ONE, "one"), first=date(2020, 1, 1), last=date(2020, 1, 5))
    assert delivery.rows["close"].to_list() == [*held["close"][:2], 1.0, *held["close"][3:]]
