"""The traps of market data that rules and service levels must meet, by the number they have in the list of traps.

What a reader of files must do about the others is tested with the readers, what only a suspicion can find with those.
"""

import gzip
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from engine.bars import COLUMNS, forward_adjusted
from quality import tables
from quality.bars import digests, filled_bars, judge
from quality.sla import block, count_sessions, failed_sessions, jumps, verdicts
from tests.makers import DAY, GOOD, closes_of, due_bars, receipts_of, received, service_level
from tests.sample_packing import SHARED

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")
FIVE_MINUTES = timedelta(minutes=5)
WARNED = {"severity": "warn", "why": "a test"}
NO_ACTIONS = pl.DataFrame(schema={"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64})
NEW_YORK = datetime(2024, 3, 4, 14, 30, tzinfo=UTC)  # a Monday's open
MONDAY = NEW_YORK.date()
LEVEL = service_level(
    lateness={"at_most": 1800, **WARNED},
    stale_run={"at_most": 12, **WARNED},
    jump={"at_most": 0.2, **WARNED},
    disorder={"at_most": 0, **WARNED},
)


def session_of(n_bars, *, start=NEW_YORK):
    """A venue's session of five-minute bars."""
    return due_bars(n_bars, start=start)


def bars_at(due, *, skip=(), **usual):
    came = due["known_at"][-1] + FIVE_MINUTES
    return [{"ts": ts, "received_at": came, **usual} for n, ts in enumerate(due["ts"]) if n not in skip]


def judge_rows(rows, due, *, timeframe="5m", **policy):
    raw, first, last = received(*rows), due["session"].min(), due["session"].max()
    return judge(raw, receipts_of(raw), due, closes_of(due), first=first, last=last, timeframe=timeframe, **policy)


def verdicts_of(judged, due, *, level=LEVEL, **how):
    """`(value, passed)` by session and rule."""
    counted = count_sessions(due["session"].unique().sort().to_list(), due, judged, **how)
    record = verdicts(counted.with_columns(instrument=pl.lit("X")), level.limits)
    return {(row["session"], row["rule"]): (row["value"], row["passed"]) for row in record.to_dicts()}


def real(path):
    frame = pl.read_parquet(SHARED / path).with_columns(pl.col("ts").cast(tables.TS))
    return frame.select(pl.int_range(1, pl.len() + 1).alias("line"), "ts", *COLUMNS)


def judge_real(*frames, **policy):
    """Receipts that each speak for all days of the first, around the clock."""
    days = frames[0]["ts"].dt.date()
    first, last = days.min(), days.max()
    labels = pl.date_range(first - DAY, last + DAY, eager=True).alias("session")
    closes = pl.DataFrame(labels).with_columns(open=pl.col("session").cast(tables.TS))
    closes = closes.with_columns(close=pl.col("open") + DAY)
    begin, end = closes["open"][1], closes["open"][-1]
    stamps = pl.datetime_range(begin, end, "5m", closed="left", eager=True).alias("ts")
    due = pl.DataFrame(stamps).select(session=pl.col("ts").dt.date(), ts="ts", known_at=pl.col("ts") + FIVE_MINUTES)
    receipts = pl.DataFrame(
        [(n, end + n * DAY, first, last) for n, _ in enumerate(frames, start=1)],
        {"sequence": pl.Int64, "received_at": tables.TS, "first_session": pl.Date, "last_session": pl.Date},
        orient="row",
    )
    raw = pl.concat(frame.with_columns(sequence=pl.lit(n, pl.Int64)) for n, frame in enumerate(frames, start=1))
    return judge(raw, receipts, due, closes, first=first, last=last, timeframe="5m", **policy)


def yahoo(name):
    with gzip.open(SHARED / "messy" / "yahoo_pairs" / f"{name}.csv.gz") as file:
        table = pl.read_csv(file.read(), infer_schema_length=None)
    prices = [pl.col(column.capitalize()).cast(pl.Float64).alias(column) for column in COLUMNS]
    stamp = pl.col(table.columns[0]).str.slice(0, 10).str.to_date()
    return table.select(stamp.alias("session"), stamp.cast(tables.TS).alias("ts"), *prices).drop_nulls().sort("ts")


@needs_shared_data
def test_trap_1_an_unclosed_bar_and_the_closed_one_after_it():
    rows = real("crypto/bittrex_5m/ADA-BTC.parquet")
    refused = judge_real(rows)
    kept = judge_real(rows, on_conflict="keep_last")
    pairs = rows.height - rows["ts"].n_unique()
    assert pairs == 476
    assert refused.counts["conflicting"].sum() == 2 * pairs  # told, and neither is believed
    assert kept.restatements["kind"].to_list() == ["superseded"] * pairs
    assert kept.accepted.height == rows["ts"].n_unique()
    assert (kept.restatements["new_volume"] >= kept.restatements["volume"]).mean() > 0.99
    later = rows.group_by("ts").agg(pl.all().last()).sort("ts")
    assert kept.accepted["close"].equals(later["close"])


def test_trap_1_a_bar_is_not_accepted_before_it_has_closed():
    due = session_of(2)
    found = judge_rows([{"ts": NEW_YORK, "received_at": NEW_YORK + timedelta(minutes=4)}], due)
    assert found.quarantined["rules"].to_list() == [["unclosed_bar"]]


def test_trap_2_identical_duplicates_are_counted_without_an_alarm():
    due = session_of(78)
    found = judge_rows(bars_at(due) + bars_at(due)[:5], due)
    assert found.counts["identical"].item() == 5
    assert all(passed for (_, rule), (_, passed) in verdicts_of(found, due).items() if rule != "disorder")


def test_trap_29_a_halt_is_missing_and_is_not_filled():
    due = pl.concat([session_of(78), session_of(78, start=NEW_YORK + DAY), session_of(78, start=NEW_YORK + 2 * DAY)])
    halted = MONDAY + DAY
    found = judge_rows([row for row in bars_at(due) if row["ts"].date() != halted], due)
    assert verdicts_of(found, due)[halted, "completeness"] == (0.0, False)
    assert filled_bars(found.accepted, due, found.accepted.clear()).is_empty()


def test_trap_30_an_outage_of_the_source_stops_all_instruments_together_and_blocks():
    due = session_of(78)
    counted = count_sessions([MONDAY], due, judge_rows(bars_at(due)[:9], due))
    of_all = pl.concat(counted.with_columns(instrument=pl.lit(name)) for name in ("A", "B", "C"))
    found = block(verdicts(of_all, LEVEL.limits), block_share=0.5)
    assert (found.blocked, found.failed) == (True, ("A", "B", "C"))


def test_trap_31_no_trade_and_no_bar_is_missing_or_is_filled_and_says_so():
    due = session_of(78)
    found = judge_rows(bars_at(due, skip=(3, 4, 77)), due)
    assert verdicts_of(found, due)[MONDAY, "completeness"][1] is False
    filled = filled_bars(found.accepted, due, found.accepted.clear())
    assert filled["ts"].to_list() == [due["ts"][n] for n in (3, 4, 77)]
    assert set(filled.select("open", "high", "low", "close", "volume").rows()) == {(11.0, 11.0, 11.0, 11.0, 0.0)}
    level = service_level(no_trade_bars="filled", filled={"at_most": 0.5, **WARNED})
    said = verdicts_of(found, due, level=level, filled=filled)
    assert said[MONDAY, "filled"] == (3 / 78, True)
    assert said[MONDAY, "completeness"] == (75 / 78, False)  # not silently


def test_trap_32_filler_bars_are_present_and_stale():
    due = session_of(78)
    flat = {**dict.fromkeys(("open", "high", "low", "close"), 11.0), "volume": 0}
    found = judge_rows(bars_at(due)[:40] + bars_at(due, **flat)[40:], due)
    said = verdicts_of(found, due)
    assert said[MONDAY, "completeness"] == (1.0, True)
    assert said[MONDAY, "stale_run"] == (37, False)  # the first of 38 has another open than the bar before it


def test_trap_33_what_is_missing_at_the_end_is_expected_all_the_same():
    due = session_of(78)
    assert verdicts_of(judge_rows(bars_at(due)[:70], due), due)[MONDAY, "completeness"] == (70 / 78, False)


def test_trap_34_an_early_close_is_no_alarm():
    due = session_of(42)
    assert all(passed for _, passed in verdicts_of(judge_rows(bars_at(due), due), due).values())


def test_trap_35_hours_may_run_from_a_break_that_is_no_whole_number_of_them():
    open_, after_lunch = datetime(2024, 3, 4, 1, 30, tzinfo=UTC), datetime(2024, 3, 4, 5, 0, tzinfo=UTC)
    hour = timedelta(hours=1)
    due = pl.concat([due_bars(3, start=open_, step=hour), due_bars(3, start=after_lunch, step=hour)])
    rows = [*bars_at(due), {"ts": open_ + 3 * hour}, {"ts": open_ + 3.25 * hour}]
    found = judge_rows(rows, due, timeframe="1h")
    assert found.accepted.height == 6
    assert found.quarantined["rules"].to_list() == [["off_session"], ["off_grid"]]


def test_trap_36_a_closing_print_is_off_session_in_the_session_it_closes():
    due = pl.concat([session_of(78), session_of(78, start=NEW_YORK + DAY)])
    found = judge_rows([*bars_at(due), {"ts": NEW_YORK + 78 * FIVE_MINUTES, "volume": 8.4e6}], due)
    refused = found.quarantined.select("session", "volume", "rules").rows()
    assert refused == [(MONDAY, 8.4e6, ["off_session"])]
    assert found.accepted.height == 156


@pytest.mark.parametrize(("policy", "passed"), [("refused", False), ("expected", True)])
def test_trap_37_what_trades_outside_hours_is_neither_missing_nor_bad_where_it_is_expected(policy, passed):
    due = session_of(78)
    early = [{"ts": NEW_YORK - n * FIVE_MINUTES} for n in range(1, 30)]
    found = judge_rows([*reversed(early), *bars_at(due)], due)
    said = verdicts_of(found, due, outside_hours=policy)
    assert said[MONDAY, "completeness"] == (1.0, True)
    assert said[MONDAY, "quarantined"][1] is passed
    assert found.quarantined.height == 29


@pytest.mark.parametrize("volume", ["ticks", "none"])
def test_trap_38_a_volume_of_zero_is_no_defect_where_volume_is_not_what_traded(volume):
    due = session_of(78)
    found = judge_rows(bars_at(due, volume=0), due)
    assert found.quarantined.is_empty()
    assert verdicts_of(found, due, volume=volume)[MONDAY, "completeness"] == (1.0, True)
    assert verdicts_of(found, due, volume=volume)[MONDAY, "stale_run"] == (
        77,
        False,
    )  # equal bars are stale all the same


def test_trap_41_prices_of_zero_are_refused():
    due = session_of(3)
    found = judge_rows(bars_at(due, open=0, high=0, low=0, close=0), due)
    assert found.quarantined["rules"].to_list() == [["non_positive_price"]] * 3


@pytest.mark.parametrize("price", [4e14, 4.89e-06, 1e-08])
def test_trap_42_huge_and_tiny_prices_are_kept_to_the_last_bit(price):
    found = judge_rows([{"ts": NEW_YORK, **dict.fromkeys(GOOD, price)}], session_of(1))
    assert found.accepted.select(COLUMNS).row(0) == (price,) * 5


def test_trap_43_float_noise_is_no_restatement():
    tiny = dict.fromkeys(("open", "high", "low", "close"), 5.33e-05)
    noisy = dict.fromkeys(tiny, 5.330000000000001e-05)
    rows = [{"ts": NEW_YORK, **tiny}, {"ts": NEW_YORK, **noisy, "sequence": 2}]
    found = judge_rows(rows, session_of(1))
    assert found.restatements.is_empty()
    assert found.accepted["close"].item() == 5.33e-05


@needs_shared_data
def test_trap_43_a_later_copy_of_the_same_venue_restates_almost_nothing():
    bittrex, freqtrade = (real(f"crypto/{name}_5m/ADA-BTC.parquet") for name in ("bittrex", "freqtrade"))
    alone = judge_real(bittrex, on_conflict="keep_last")
    both = judge_real(bittrex, freqtrade, on_conflict="keep_last")
    overlap = alone.accepted.join(freqtrade, on="ts", how="semi").height
    by_bytes = alone.accepted.join(freqtrade, on="ts").filter(pl.col("close") != pl.col("close_right")).height
    changed = both.restatements.filter(kind="changed")
    assert overlap > 5_000
    assert changed.height < by_bytes / 10
    same = digests(alone.accepted).join(digests(both.accepted), on=("session", "digest"), how="semi").height
    assert same > 0


def test_trap_44_a_rounded_history_is_not_stale():
    due = session_of(78)
    flat = dict.fromkeys(("open", "high", "low", "close"), 0.1)
    said = verdicts_of(judge_rows(bars_at(due, **flat, volume=3), due), due)
    assert said[MONDAY, "stale_run"] == (0, True)


@needs_shared_data
def test_trap_46_a_listing_glitch_breaks_no_price_rule_but_the_range():
    rows = real("crypto/bittrex_5m/TRX-BTC.parquet")
    first = rows["ts"][0]
    assert judge_real(rows, on_conflict="keep_last").accepted["ts"][0] == first
    found = judge_real(rows, on_conflict="keep_last", max_range_ratio=10_000)
    assert found.quarantined.select("ts", "rules").rows() == [(first, ["improbable_range"])]


@needs_shared_data
@pytest.mark.parametrize("name", ["LA-V-1d-bad-stock-split", "MOB-ST-1d-bad-stock-split"])
def test_trap_25_a_split_that_was_not_adjusted_for_is_caught_by_jump_and_named(name):
    bad, fixed = (jumps(yahoo(f"{name}{ending}"), NO_ACTIONS, limit=0.25) for ending in ("", "-fixed"))
    assert {text.split()[3] for text in bad["looks_like"]} == {"10:1", "1:10"}
    assert fixed["looks_like"].drop_nulls().is_empty()


@needs_shared_data
def test_trap_25_a_block_in_other_units_is_named_by_the_step_that_begins_it():
    # Saipem's rights issue fell on the day of its reverse split; its own half remains in the repaired file.
    bad, fixed = (
        jumps(yahoo(f"SPM-MI-1d-bad-stock-split{ending}"), NO_ACTIONS, limit=0.25) for ending in ("", "-fixed")
    )
    assert [bars["looks_like"].drop_nulls().to_list()[0].split()[3] for bars in (bad, fixed)] == ["20:1", "2:1"]


@needs_shared_data
def test_trap_25_the_splits_of_raw_prices_are_named_unless_they_are_known():
    with gzip.open(next((SHARED / "equity/lean_1d").glob("AAPL*.csv.gz"))) as file:
        table = pl.read_csv(file.read(), try_parse_dates=True)
    day = pl.col("date")
    bars = table.select(day.alias("session"), day.cast(tables.TS).alias("ts"), pl.col(COLUMNS).cast(pl.Float64))
    found = jumps(bars, NO_ACTIONS, limit=0.25)
    splits = {date(2000, 6, 21): "2:1", date(2005, 2, 28): "2:1", date(2014, 6, 9): "7:1", date(2020, 8, 31): "4:1"}
    named = {day: text.split()[3] for day, _, _, text in found.drop_nulls().iter_rows()}
    assert named == splits
    stated = [(day, "split", float(ratio.split(":")[0])) for day, ratio in splits.items()]
    known = pl.DataFrame(stated, NO_ACTIONS.schema, orient="row")
    assert jumps(bars, known, limit=0.25)["looks_like"].drop_nulls().is_empty()
    assert forward_adjusted(bars, known)["close"].pct_change().abs().max() < 0.6  # September 2000 was real


@needs_shared_data
def test_trap_25_a_split_between_two_days_of_minutes_is_named():
    bars = real("equity/lean_1m/AAPL.parquet").with_columns(session=pl.col("ts").dt.date())
    found = jumps(bars, NO_ACTIONS, limit=0.2)
    assert found.select("session", "looks_like").rows() == [
        (date(2014, 6, 9), "looks like a 7:1 split that was not adjusted for")
    ]


def test_a_session_with_every_defect_that_only_warns_fails_nobody():
    due = session_of(78)
    rows = bars_at(due)
    found = judge_rows([*rows[1:], rows[0]], due)
    record = count_sessions([MONDAY], due, found).with_columns(instrument=pl.lit("X"))
    said = verdicts(record, LEVEL.limits)
    assert said.filter(rule="disorder")["passed"].to_list() == [False]
    assert failed_sessions(said)["failed"].to_list() == [False]
