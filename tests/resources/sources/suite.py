"""What every source must keep. A source's test is this suite and the facts it is held to."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quality.datasets import Instrument
from resources.errors import UnknownInstrumentError
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Source

Opened = Callable[..., Source]  # a source of its own at every call; `at` is what its clock shows


def named(name: str, symbol: str, **changes: Any) -> Instrument:
    """An instrument as a data set would have it."""
    terms = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
    return Instrument.model_validate({"id": name, "symbol": symbol, **terms, **changes})


NOBODY = named("NOSUCH.VENUE", "nosuch")


class Facts(NamedTuple):
    """What is known of a source from outside it."""

    instruments: tuple[Instrument, ...]  # the first one is asked for bars
    first: date  # a span that it holds
    last: date
    n_rows: int  # in that span
    never: date | None  # a session for which it has nothing
    n_actions: int  # of all instruments
    offered: tuple[str, ...] = ()  # what is named when an unknown instrument is refused
    knows_its_instruments: bool = True  # or makes up any
    gives_spans: bool = True  # or hands out what lies there, whatever was asked for
    midway: datetime | None = None  # a moment at which a session of the span is not over; None where it has ended
    running: date | None = None  # that session

    @property
    def instrument(self) -> Instrument:
        return self.instruments[0]


def received(source: Source, instrument: Instrument, *, first: date, last: date) -> list[Delivery]:
    return list(source.deliveries(instrument, first=first, last=last))


def rows_of(deliveries: Sequence[Delivery]) -> pl.DataFrame:
    return pl.concat([RECEIVED.to_frame(), *(delivery.rows for delivery in deliveries)])


class SourceSuite:
    """Subclass it as Test… and give the two fixtures `opened` and `facts`."""

    @pytest.fixture
    def given(self, opened: Opened, facts: Facts) -> list[Delivery]:
        return received(opened(), facts.instrument, first=facts.first, last=facts.last)

    def test_a_delivery_has_the_columns_of_a_received_row(self, given: list[Delivery]) -> None:
        assert given
        assert all(delivery.rows.schema == RECEIVED for delivery in given)

    def test_the_deliveries_hold_what_the_source_is_known_to_have(self, given: list[Delivery], facts: Facts) -> None:
        assert {delivery.instrument for delivery in given} == {facts.instrument.id}
        assert rows_of(given).height == facts.n_rows

    def test_every_line_of_a_delivery_has_a_number_of_its_own_in_order(self, given: list[Delivery]) -> None:
        for delivery in given:
            assert delivery.rows["line"].is_sorted()
            assert delivery.rows["line"].is_unique().all()

    def test_deliveries_speak_for_spans_that_follow_each_other(self, given: list[Delivery], facts: Facts) -> None:
        if not facts.gives_spans:
            pytest.skip("a file says which sessions it is for")
        assert (given[0].first, given[-1].last) == (facts.first, facts.last)
        for one, following in pairwise(given):
            assert one.first <= one.last
            assert following.first == one.last + timedelta(days=1)

    def test_no_row_is_of_a_session_that_its_delivery_does_not_speak_for(self, given: list[Delivery]) -> None:
        for delivery in given:
            sessions = delivery.rows["ts"].dt.date().drop_nulls()
            assert sessions.is_between(delivery.first, delivery.last).all()

    def test_no_bar_is_sent_twice(self, given: list[Delivery]) -> None:
        assert rows_of(given)["ts"].is_unique().all()

    def test_asking_again_gives_the_same(self, opened: Opened, given: list[Delivery], facts: Facts) -> None:
        again = received(opened(), facts.instrument, first=facts.first, last=facts.last)
        for one, other in zip(given, again, strict=True):
            assert_frame_equal(one.rows, other.rows, check_exact=True)
            assert one._replace(rows=other.rows) == other

    def test_two_neighbouring_spans_hold_the_rows_of_the_whole(
        self, opened: Opened, given: list[Delivery], facts: Facts
    ) -> None:
        if not facts.gives_spans:
            pytest.skip("files are handed out whole")
        middle = facts.first + (facts.last - facts.first) // 2
        spans = [(facts.first, middle), (middle + timedelta(days=1), facts.last)]
        source = opened()
        parts = [rows_of(received(source, facts.instrument, first=first, last=last)) for first, last in spans]
        assert_frame_equal(pl.concat(parts).drop("line"), rows_of(given).drop("line"), check_exact=True)

    def test_of_a_session_it_has_nothing_for_it_gives_nothing(self, opened: Opened, facts: Facts) -> None:
        if facts.never is None:
            pytest.skip("it has something for every session")
        assert rows_of(received(opened(), facts.instrument, first=facts.never, last=facts.never)).is_empty()

    def test_nothing_is_given_of_a_session_that_is_not_over(self, opened: Opened, facts: Facts) -> None:
        if facts.midway is None or facts.running is None:
            pytest.skip("what it has is over")
        given = received(opened(at=facts.midway), facts.instrument, first=facts.first, last=facts.last)
        assert given[-1].last < facts.running
        sessions = rows_of(given)["ts"].dt.date()
        assert not sessions.is_empty()
        assert (sessions < facts.running).all()

    def test_an_origin_is_the_same_on_every_machine(self, given: list[Delivery]) -> None:
        for delivery in given:
            assert delivery.origin
            assert not PurePosixPath(delivery.origin).is_absolute()
            assert not {"\\", "?", "@"} & set(delivery.origin.removeprefix("https://").removeprefix("http://"))

    def test_an_instrument_it_does_not_have_is_refused_with_those_it_has(self, opened: Opened, facts: Facts) -> None:
        if not facts.knows_its_instruments:
            pytest.skip("it makes bars for any instrument")
        with pytest.raises(UnknownInstrumentError) as refused:
            received(opened(), NOBODY, first=facts.first, last=facts.last)
        assert all(name in str(refused.value) for name in facts.offered)

    def test_actions_are_those_of_the_instruments_asked_for_in_order(self, opened: Opened, facts: Facts) -> None:
        source = opened()
        of_all = source.corporate_actions(facts.instruments)
        assert of_all.schema == ACTIONS
        assert of_all.height == facts.n_actions
        assert_frame_equal(of_all, of_all.sort("instrument", "ex_date", "kind"))
        assert_frame_equal(
            source.corporate_actions([facts.instrument]), of_all.filter(pl.col("instrument") == facts.instrument.id)
        )

    def test_actions_are_splits_and_dividends_with_positive_values(self, opened: Opened, facts: Facts) -> None:
        actions = opened().corporate_actions(facts.instruments)
        assert set(actions["kind"]) <= {"split", "dividend"}
        assert (actions["value"] > 0).all()

    def test_the_last_session_is_delivered_and_nothing_after_it(self, opened: Opened, facts: Facts) -> None:
        source = opened()
        last = source.last_session()
        if last is None:
            pytest.skip("this source goes on")
        after = last + timedelta(days=1)
        assert not rows_of(received(source, facts.instrument, first=last, last=last)).is_empty()
        assert rows_of(received(source, facts.instrument, first=after, last=date(2099, 12, 31))).is_empty()

    def test_it_can_be_told_that_all_was_kept(self, opened: Opened, facts: Facts) -> None:
        source = opened()
        received(source, facts.instrument, first=facts.first, last=facts.last)
        source.settle()
