"""Expectations measure in SQL what the SLA's rules measured, on real bars with defects, and agree to the last digit."""

from datetime import date, timedelta
from functools import cache
from typing import Any, Literal

import duckdb
import polars as pl
import pytest

from quality import sla, tables
from quality.bars import ROW_RULES, judge
from quality.expectations import MEASURED, NEED_A_CALENDAR, ROW_CONDITIONS, measures_query, suites
from quality.policies import Limit, ServiceLevel
from tests.judged_sample import AGAIN, DATASET, INSTRUMENTS, judged_tables, limit, policy
from tests.makers import DAY, SESSION, START, closes_of, due_bars, received

COMPLETE = Limit.model_validate({"at_least": 0.99, "severity": "enforce", "why": "for the test"})
LEVEL = policy(
    completeness=COMPLETE,
    jump=limit(at_most=0.02),
    disorder=limit(at_most=0, severity="enforce", since=date(2017, 7, 10)),
)
Tables = dict[str, pl.DataFrame]


def measured(
    kept: Tables,
    level: ServiceLevel,
    *,
    keep_last: bool = False,
    has_volume: bool = True,
    span: tuple[date, date] = (date.min, date.max),
) -> pl.DataFrame:
    """The frame that Great Expectations is given, without a file between."""
    with duckdb.connect() as connection:
        for name, frame in ({"retractions": tables.empty("retractions")} | kept).items():
            connection.register(name, frame.to_arrow())
        asked: dict[str, Any] = {"dataset": DATASET, "keep_last": keep_last, "has_volume": has_volume}
        asked["max_range_ratio"] = level.max_range_ratio
        asked |= {"start": str(span[0]), "end": str(span[1])}
        answers = [
            connection.sql(measures_query(level), params={**asked, "instrument": instrument}).to_arrow_table()
            for instrument in INSTRUMENTS
        ]
    frames = [pl.DataFrame(answer) for answer in answers]
    return pl.concat(frames).with_columns(pl.col("session").str.to_date())


@cache
def both(on_conflict: Literal["refuse", "keep_last"]) -> tuple[Tables, pl.DataFrame]:
    """The tables, and what is measured in them."""
    kept = judged_tables(LEVEL, on_conflict=on_conflict)
    return kept, measured(kept, LEVEL, keep_last=on_conflict == "keep_last")


def broken(frame: pl.DataFrame, prefix: str) -> dict[str, int]:
    sums = frame.select(pl.col(f"^{prefix}.*$").cast(pl.Int64).abs().sum()).row(0, named=True)
    return {name: count for name, count in sums.items() if count}


@pytest.fixture
def kept() -> Tables:
    return both("refuse")[0]


@pytest.mark.parametrize("on_conflict", ["refuse", "keep_last"])
@pytest.mark.slow
def test_every_value_that_is_counted_anew_is_that_of_the_record(on_conflict: Literal["refuse", "keep_last"]) -> None:
    kept, frame = both(on_conflict)
    record = kept["sla_record"].join(frame, on=["instrument", "session"])
    assert record.height == kept["sla_record"].height
    for rule in LEVEL.limits:
        of_rule = record.filter(pl.col("rule") == rule)
        assert of_rule[rule].cast(pl.Float64).to_list() == of_rule["value"].to_list(), rule
    failed = kept["sla_record"].filter(~pl.col("passed"))["rule"].unique()
    assert set(failed) == set(LEVEL.limits) - ({"duplicates"} if on_conflict == "keep_last" else set())


@pytest.mark.parametrize("on_conflict", ["refuse", "keep_last"])
def test_every_received_row_is_accounted_for(on_conflict: Literal["refuse", "keep_last"]) -> None:
    kept, frame = both(on_conflict)
    assert broken(frame, "accepted_") == {}
    assert broken(frame, "unmatched_") == {}
    assert broken(frame, "lost") == {}
    rules = set(kept["quarantine"]["rules"].explode())
    assert rules >= set(ROW_CONDITIONS) - ({"conflicting_duplicate"} if on_conflict == "keep_last" else set())


def test_sessions_outside_the_data_sets_span_are_not_counted(kept: Tables) -> None:
    _, frame = both("refuse")
    first, last = date(2017, 7, 3), date(2017, 7, 12)
    narrowed = measured(kept, LEVEL, span=(first, last))
    assert narrowed.equals(frame.filter(pl.col("session").is_between(first, last)))
    assert 0 < narrowed.height < frame.height


def test_a_session_is_judged_by_the_newest_receipt_that_speaks_for_it(kept: Tables) -> None:
    _, frame = both("refuse")
    first = pl.col("sequence") % 2 == 1
    without = kept | {name: kept[name].filter(first) for name in ("receipts", "raw_bars")}
    changed = frame.join(measured(without, LEVEL), on=["instrument", "session"], suffix="_before")
    moved = changed.filter(pl.col("quarantined") != pl.col("quarantined_before"))["session"]
    assert moved.len() > 0
    assert moved.is_between(*AGAIN).all()


@pytest.mark.slow
def test_a_retracted_receipt_counts_for_nothing(kept: Tables) -> None:
    even = kept["receipts"].filter(pl.col("sequence") % 2 == 0)
    taken_back = even.select("dataset", "sequence", pl.col("received_at").alias("retracted_at"), why=pl.lit("wrong"))
    first = pl.col("sequence") % 2 == 1
    without = kept | {name: kept[name].filter(first) for name in ("receipts", "raw_bars")}
    assert measured(kept | {"retractions": taken_back}, LEVEL).equals(measured(without, LEVEL))


def parts_of_a_session(level: ServiceLevel) -> Tables:
    """One session of six bars out of two files, a corrected part of the first and rows outside its hours."""
    at = [START + i * timedelta(minutes=5) for i in range(-2, 6)]  # the first two come before the open
    due = due_bars(6)
    bad: dict[str, Any] = {"close": None}
    raw = received(
        *({"ts": ts} for ts in at[:3]),
        {"ts": at[3], **bad},
        {"ts": at[4], **bad},
        {"ts": None},
        *({"ts": ts, "sequence": 2} for ts in at[6:]),
        {"ts": at[3], "sequence": 3},
        {"ts": at[4], "sequence": 3, "high": 1},
    )
    ends = [(at[0], at[4]), (at[6], at[7]), (at[3], at[4])]
    spoken = [(n, START + n * DAY, SESSION, SESSION, "files", *extent, 1) for n, extent in enumerate(ends, start=1)]
    named = ("sequence", "received_at", "first_session", "last_session", "source", "first", "last", "n_rows")
    labels = {"dataset": DATASET, "instrument": INSTRUMENTS[0], "content": "a", "origin": "a test"}
    receipts = tables.frame("receipts", [labels | dict(zip(named, one, strict=True)) for one in spoken])
    judged = judge(raw, receipts, due, closes_of(due), first=SESSION, last=SESSION, timeframe="5m")
    counts = sla.count_sessions([SESSION], due, judged, outside_hours=level.outside_hours)
    own = {name: pl.lit(labels[name]) for name in ("dataset", "instrument")}
    unreceipted = raw.head(1).with_columns(sequence=pl.lit(99, pl.Int64))  # a writer died before its receipt
    return {
        "receipts": receipts,
        "raw_bars": pl.concat([raw, unreceipted]).with_columns(**own),
        "bars": judged.accepted.with_columns(**own, filled=pl.lit(value=False)),
        "quarantine": judged.quarantined.with_columns(**own),
        "sla_record": sla.verdicts(counts.with_columns(**own), level.limits).with_columns(**own),
    }


@pytest.mark.parametrize(
    ("outside_hours", "share"),
    [
        pytest.param("refused", 3 / 7, id="two outside hours and one wrong, of seven that came last of their ts"),
        pytest.param("expected", 1 / 5, id="what is expected outside hours is neither refused nor received"),
    ],
)
@pytest.mark.slow
def test_files_of_parts_of_a_session_are_counted_as_the_record_counts_them(outside_hours: str, share: float) -> None:
    level = LEVEL.model_copy(update={"outside_hours": outside_hours, "max_range_ratio": None})
    kept = parts_of_a_session(level)
    frame = measured(kept, level)
    record = dict(kept["sla_record"].select("rule", "value").iter_rows())
    assert {rule: frame[rule].item() for rule in MEASURED} == {rule: record[rule] for rule in MEASURED}
    assert record["quarantined"] == share
    assert broken(frame, "unmatched_") | broken(frame, "lost") == {}


def with_table(kept: Tables, name: str, frame: pl.DataFrame) -> Tables:
    return {**kept, name: frame}


def test_an_accepted_bar_that_breaks_a_rule_is_found(kept: Tables) -> None:
    first = pl.int_range(pl.len()) == 100
    wrong = kept["bars"].with_columns(low=pl.when(first).then(pl.col("high") * 2).otherwise("low"))
    assert broken(measured(with_table(kept, "bars", wrong), LEVEL), "accepted_") == {"accepted_low_above_body": 1}


def test_a_received_row_that_is_nowhere_is_found(kept: Tables) -> None:
    gone = kept["bars"][500]
    found = measured(with_table(kept, "bars", kept["bars"].filter(pl.col("ts") != gone["ts"][0])), LEVEL)
    lost = found.filter(pl.col("lost") > 0)
    assert lost["session"].unique().to_list() == [gone["session"][0]]
    assert lost["instrument"].to_list() == list(INSTRUMENTS)


def test_a_refused_row_that_quarantine_lacks_is_found(kept: Tables) -> None:
    rule = "high_below_body"
    without = kept["quarantine"].filter(~pl.col("rules").list.contains(rule))
    frame = measured(with_table(kept, "quarantine", without), LEVEL)
    assert broken(frame, "lost").keys() == {"lost"}, "where no other row has its ts"
    assert f"unmatched_{rule}" in broken(frame, "unmatched_"), "where an accepted bar has"


@pytest.mark.slow
def test_volumes_that_mean_nothing_break_no_rule(kept: Tables) -> None:
    negative = kept["raw_bars"].filter(pl.col("volume") < 0).height
    of_volume = ["negative_volume", "unreadable_volume"]
    no_volume = kept["quarantine"].with_columns(rules=pl.col("rules").list.set_difference(of_volume))
    frame = measured(with_table(kept, "quarantine", no_volume), LEVEL, has_volume=False)
    assert negative > 0
    both = {f"unmatched_{rule}" for rule in of_volume}
    assert not both & {*broken(frame, "unmatched")}
    assert both <= {*broken(measured(with_table(kept, "quarantine", no_volume), LEVEL), "unmatched")}


def test_every_row_rule_is_either_expressed_or_needs_a_calendar() -> None:
    assert ROW_CONDITIONS.keys() <= ROW_RULES.keys()
    assert set(NEED_A_CALENDAR) == {"off_grid", "off_session", "unclosed_bar"}


def test_a_suite_has_every_rule_of_its_section_with_limit_and_reason() -> None:
    sla, rows = suites(DATASET, LEVEL)
    assert (sla.name, rows.name) == ("crypto_5m.sla", "crypto_5m.rows")
    assert {one.column for one in sla.expectations} == set(LEVEL.limits)
    for one in sla.expectations:
        bounds = LEVEL.limits[one.column]
        assert (one.at_least, one.at_most, one.why) == (bounds.at_least, bounds.at_most, bounds.why)
    assert MEASURED.keys() <= LEVEL.limits.keys()


def test_a_rule_that_is_enforced_from_a_date_on_warns_before_it() -> None:
    disorder = [one for one in suites(DATASET, LEVEL)[0].expectations if one.column == "disorder"]
    assert [(one.first, one.end, one.enforced) for one in disorder] == [
        (None, date(2017, 7, 10), False),
        (date(2017, 7, 10), None, True),
    ]
