"""Statements of corporate actions are kept once, in the order they came, and never changed."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from quality.actions import ACTION
from resources.lake import Lake
from resources.statements import Statement, keep
from tests.fakes import ONE, OTHER

AT = datetime(2024, 1, 1, tzinfo=UTC)
DAY = date(2020, 6, 15)
SPLIT = (DAY, "split", 2.0)


def stated(*actions: tuple[Any, ...], of: str = ONE, source: str = "sample", **span: date) -> Statement:
    return Statement(of, pl.DataFrame(list(actions), ACTION, orient="row"), source, "a test", **span)


def rows(lake: Lake) -> list[tuple[Any, ...]]:
    return lake.read("raw_actions").sort("sequence", "line").select("sequence", "line", "instrument", *ACTION).rows()


def test_a_statement_is_kept_as_it_came_whatever_is_in_it(lake: Lake) -> None:
    assert keep(lake, "small", [stated(SPLIT, (None, None, -1.0), SPLIT)], at=AT) == 1
    assert rows(lake) == [(1, 0, ONE, *SPLIT), (1, 1, ONE, None, None, -1.0), (1, 2, ONE, *SPLIT)]
    first = lake.read("raw_actions").sort("line").row(0, named=True)
    assert (first["received_at"], first["source"], first["origin"], first["first"]) == (AT, "sample", "a test", None)


def test_that_there_is_nothing_to_state_is_a_statement(lake: Lake) -> None:
    assert keep(lake, "small", [stated(), stated(of=OTHER)], at=AT) == 2
    assert rows(lake) == [(1, 0, ONE, None, None, None), (2, 0, OTHER, None, None, None)]
    assert keep(lake, "small", [stated(), stated(of=OTHER)], at=AT) == 0


def test_the_same_again_is_no_new_statement_in_whatever_order(lake: Lake) -> None:
    dividend = (DAY, "dividend", 0.5)
    assert keep(lake, "small", [stated(SPLIT, dividend)], at=AT) == 1
    assert keep(lake, "small", [stated(dividend, SPLIT)], at=AT) == 0
    assert keep(lake, "small", [stated(SPLIT)], at=AT) == 1
    assert keep(lake, "small", [stated(SPLIT, dividend)], at=AT) == 1, "the source went back to what it said before"
    assert [sequence for sequence, line, *_ in rows(lake) if line == 0] == [1, 2, 3]


def test_within_one_asking_the_same_counts_once(lake: Lake) -> None:
    assert keep(lake, "small", [stated(SPLIT), stated(SPLIT), stated(SPLIT, source="files")], at=AT) == 2


def test_a_statement_about_other_days_does_not_come_in_between(lake: Lake) -> None:
    june = {"first": date(2020, 6, 1), "last": date(2020, 6, 30)}
    july = {"first": date(2020, 7, 1), "last": date(2020, 7, 31)}
    assert keep(lake, "small", [stated(SPLIT, **june), stated(**july)], at=AT) == 2
    assert keep(lake, "small", [stated(SPLIT, **june)], at=AT) == 0
    assert keep(lake, "small", [stated(**june)], at=AT) == 1
    assert keep(lake, "small", [stated(SPLIT, **june)], at=AT) == 1


def test_data_sets_count_for_themselves(lake: Lake) -> None:
    assert keep(lake, "small", [stated(SPLIT)], at=AT) == 1
    assert keep(lake, "other", [stated(SPLIT)], at=AT) == 1
    assert lake.read("raw_actions")["sequence"].to_list() == [1, 1]
