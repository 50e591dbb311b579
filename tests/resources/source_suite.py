"""What every source must keep. A source's test is this suite and the facts it is held to."""

from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.errors import UnknownInstrumentError
from resources.sources.protocol import ACTIONS, RECEIVED, Source


class Named(NamedTuple):
    id: str
    symbol: str


class Facts(NamedTuple):
    """What is known of a source from outside it."""

    instrument: Named
    instruments: tuple[str, ...]
    first: date  # a span that it holds
    last: date
    n_rows: int  # in that span
    never: date  # a day it does not reach
    n_actions: int  # of all instruments


class SourceSuite:
    """Subclass it as Test… and give the two fixtures `source` and `facts`."""

    def test_a_delivery_has_the_columns_of_a_received_row(self, source: Source, facts: Facts) -> None:
        assert source.fetch(facts.instrument, first=facts.first, last=facts.last).rows.schema == RECEIVED

    def test_a_delivery_holds_what_the_source_is_known_to_have(self, source: Source, facts: Facts) -> None:
        delivery = source.fetch(facts.instrument, first=facts.first, last=facts.last)
        assert delivery.instrument == facts.instrument.id
        assert delivery.rows.height == facts.n_rows

    def test_lines_count_the_rows_of_a_delivery_from_zero(self, source: Source, facts: Facts) -> None:
        rows = source.fetch(facts.instrument, first=facts.first, last=facts.last).rows
        assert rows["line"].to_list() == list(range(facts.n_rows))

    def test_asking_again_gives_the_same(self, source: Source, facts: Facts) -> None:
        once, again = (source.fetch(facts.instrument, first=facts.first, last=facts.last) for _ in range(2))
        assert_frame_equal(once.rows, again.rows, check_exact=True)
        assert once.origin == again.origin

    def test_two_neighbouring_spans_hold_the_rows_of_the_whole(self, source: Source, facts: Facts) -> None:
        middle = facts.first + (facts.last - facts.first) // 2
        spans = [(facts.first, middle), (middle + timedelta(days=1), facts.last)]
        parts = [source.fetch(facts.instrument, first=first, last=last).rows for first, last in spans]
        whole = source.fetch(facts.instrument, first=facts.first, last=facts.last).rows
        assert_frame_equal(pl.concat(parts).drop("line"), whole.drop("line"), check_exact=True)

    def test_a_span_it_does_not_reach_is_an_empty_delivery(self, source: Source, facts: Facts) -> None:
        rows = source.fetch(facts.instrument, first=facts.never, last=facts.never).rows
        assert rows.is_empty()
        assert rows.schema == RECEIVED

    def test_an_origin_is_the_same_on_every_machine(self, source: Source, facts: Facts) -> None:
        origin = source.fetch(facts.instrument, first=facts.first, last=facts.last).origin
        assert not PurePosixPath(origin).is_absolute()
        assert "\\" not in origin

    def test_an_instrument_it_does_not_have_is_refused_with_those_it_has(self, source: Source, facts: Facts) -> None:
        with pytest.raises(UnknownInstrumentError) as refused:
            source.fetch(Named("NOSUCH.VENUE", "nosuch"), first=facts.first, last=facts.last)
        assert all(instrument in str(refused.value) for instrument in facts.instruments)
        with pytest.raises(UnknownInstrumentError):
            source.corporate_actions(["NOSUCH.VENUE"])

    def test_actions_are_those_of_the_instruments_asked_for_in_order(self, source: Source, facts: Facts) -> None:
        of_all = source.corporate_actions(facts.instruments)
        assert of_all.schema == ACTIONS
        assert of_all.height == facts.n_actions
        assert_frame_equal(of_all, of_all.sort("instrument", "ex_date", "kind"))
        assert_frame_equal(
            source.corporate_actions([facts.instrument.id]),
            of_all.filter(pl.col("instrument") == facts.instrument.id),
        )

    def test_actions_are_splits_and_dividends_with_positive_values(self, source: Source, facts: Facts) -> None:
        actions = source.corporate_actions(facts.instruments)
        assert set(actions["kind"]) <= {"split", "dividend"}
        assert (actions["value"] > 0).all()

    def test_the_last_session_is_delivered_and_nothing_after_it(self, source: Source, facts: Facts) -> None:
        last = source.last_session()
        if last is None:
            pytest.skip("this source goes on")
        after = last + timedelta(days=1)
        assert not source.fetch(facts.instrument, first=last, last=last).rows.is_empty()
        assert source.fetch(facts.instrument, first=after, last=date(2099, 12, 31)).rows.is_empty()
