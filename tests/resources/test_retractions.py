"""A retracted receipt is as if it had never come, and nothing of it is deleted."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quality.actions import ACTION
from resources import statements
from resources.errors import RetractedBeforeError, UnknownReceiptError
from resources.intake import Received, asked_until, receive
from resources.lake import Lake
from resources.retractions import keep, named, standing_receipts, standing_statements
from resources.statements import Statement
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource, small_dataset

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(10)]
AT = datetime(2020, 2, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DATASET = small_dataset(ONE, OTHER)


def ask(lake: Lake, *, seed: int = 1, instrument: str = ONE, at: datetime = AT) -> Received:
    source = FakeSource({instrument: random_walk("1d", 10, seed=seed)})
    return receive(lake, DATASET, source, firsts={instrument: DAYS[0]}, last=DAYS[9], at=at)


def retract(lake: Lake, *sequences: int) -> None:
    keep(lake, "small", sequences, why="wrong", at=AT)


def sequences(rows: pl.DataFrame) -> list[int]:
    return rows["sequence"].sort().to_list()


def test_what_is_retracted_does_not_stand_and_is_still_there(lake: Lake) -> None:
    for seed in (1, 2, 3):
        ask(lake, seed=seed)
    retract(lake, 2)
    assert sequences(standing_receipts(lake, "small")) == [1, 3]
    assert sequences(standing_receipts(lake, "small", instrument=OTHER)) == []
    assert sequences(lake.read("receipts")) == [1, 2, 3]
    assert lake.read("raw_bars").height == 30


def test_a_number_is_that_of_a_receipt_of_one_data_set(lake: Lake) -> None:
    ask(lake)
    keep(lake, "another", [1], why="wrong", at=AT)
    assert sequences(standing_receipts(lake, "small")) == [1]


def test_the_same_again_is_a_new_receipt_with_a_number_of_its_own(lake: Lake) -> None:
    ask(lake)
    retract(lake, 1)
    assert ask(lake).new_rows == 10
    assert sequences(standing_receipts(lake, "small")) == [2]
    assert ask(lake).new_rows == 0


def test_what_lies_beneath_a_retracted_one_is_recognised_again(lake: Lake) -> None:
    ask(lake, seed=1)
    ask(lake, seed=2)
    assert ask(lake, seed=1).new_rows == 10, "another one came in between"
    retract(lake, 2, 3)
    assert ask(lake, seed=1).new_rows == 0


def test_its_sessions_were_not_asked_for(lake: Lake) -> None:
    ask(lake)
    assert asked_until(standing_receipts(lake, "small"), [ONE], DAYS) == {ONE: DAYS[9]}
    retract(lake, 1)
    assert asked_until(standing_receipts(lake, "small"), [ONE], DAYS) == {ONE: None}


@pytest.mark.slow
def test_a_number_that_is_not_there_is_refused_with_the_nearest_that_are(lake: Lake) -> None:
    with pytest.raises(UnknownReceiptError, match="small has no receipt 1; it has none yet"):
        named(lake, "small", [1])
    for seed in range(7):
        ask(lake, seed=seed)
    with pytest.raises(UnknownReceiptError, match=r"small has no receipt 99; the nearest are 3 \(ONE.TEST, fake/ONE.TEST, 2020-01-01 to 2020-01-10\), 4 .* 7 "):  # fmt: skip
        named(lake, "small", [1, 99])
    assert sequences(named(lake, "small", [6, 2, 6])) == [2, 6]


def test_one_that_was_retracted_before_is_refused_with_when_and_why(lake: Lake) -> None:
    for seed in (1, 2):
        ask(lake, seed=seed)
    retract(lake, 1)
    with pytest.raises(
        RetractedBeforeError, match=r"receipt 1 of small was retracted at 2020-02-01 00:00Z \(wrong\) and counts"
    ):
        named(lake, "small", [2, 1])


# What files state of corporate actions


def state(
    lake: Lake,
    value: float,
    *,
    origin: str = f"fake/{ONE}",
    at: datetime = AT,
    whole: bool = False,
    came_with: Received | None = None,
) -> int:
    """What the file of a receipt says of its sessions; with `whole`, what the source says of all time."""
    stated = pl.DataFrame([(DAYS[4], "split", value)], ACTION, orient="row")
    span = (None, None) if whole else (DAYS[0], DAYS[9])
    receipts = came_with.receipts if came_with else statements.NO_RECEIPTS
    return statements.keep(lake, "small", [Statement(ONE, stated, "sample", origin, *span)], at=at, receipts=receipts)


def values(lake: Lake) -> list[float]:
    return standing_statements(lake, "small").sort("sequence")["value"].to_list()


def test_what_its_file_states_falls_with_it_and_what_others_state_does_not(lake: Lake) -> None:
    ask(lake)
    state(lake, 2.0)
    state(lake, 3.0, whole=True)
    state(lake, 4.0, origin="another file")
    ask(lake, instrument=OTHER)
    retract(lake, 2)
    assert values(lake) == [2.0, 3.0, 4.0]
    retract(lake, 1)
    assert values(lake) == [3.0, 4.0]
    assert lake.read("raw_actions").height == 3


def test_a_statement_that_was_kept_late_is_that_of_the_receipt_before_it(lake: Lake) -> None:
    """The process died between a file's bars and what it states, and it was read again an hour later."""
    ask(lake)
    state(lake, 2.0, at=AT + HOUR)
    retract(lake, 1)
    assert values(lake) == []


def test_a_better_file_of_the_same_name_and_sessions_keeps_what_it_states(lake: Lake) -> None:
    ask(lake, seed=1)
    state(lake, 2.0)
    ask(lake, seed=2, at=AT + HOUR)
    state(lake, 5.0, at=AT + HOUR)
    retract(lake, 1)
    assert values(lake) == [5.0]


def test_a_better_file_that_states_the_same_keeps_it(lake: Lake) -> None:
    ask(lake, seed=1)
    state(lake, 2.0)
    better = ask(lake, seed=2, at=AT + HOUR)
    assert state(lake, 2.0, at=AT + HOUR, came_with=better) == 1
    retract(lake, 1)
    assert values(lake) == [2.0]


def test_the_same_said_again_after_a_retraction_is_a_new_statement(lake: Lake) -> None:
    ask(lake)
    state(lake, 2.0)
    assert state(lake, 2.0) == 0
    retract(lake, 1)
    ask(lake, at=AT + HOUR)
    assert state(lake, 2.0, at=AT + HOUR) == 1
    assert values(lake) == [2.0]
    assert sequences(lake.read("raw_actions")) == [1, 2]
