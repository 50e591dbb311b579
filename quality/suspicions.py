"""What looks wrong with bars that break no rule: sentences for a person, never a verdict.

Every row of a file can be a possible bar while the file as a whole is not: its clock is another
zone's, its labels are closes, some of its prices are in pence. Each function here looks for one such
trap and says what it saw, where, and what it probably is. Nothing is repaired and no count changes:
a real crash may look like an error, so what persists or lies inside a bar is left alone.

Within one series (`within`):

1. stamps that fit the calendar some hours off, in all weeks or in one season's;
2. every session one bar late: labels are the bars' closes;
3. a file held against 24/7 that never trades on a Saturday;
4. sessions that are missing whole: the source's gap, or the calendar's error;
5. prices that jump between a close and the next open: by 100 (another unit), by 10 and back
   (a decimal point), by a split's ratio, or at a split that the file itself names;
6. a bar whose high is a multiple of its low;
7. adjusted closes that do not follow from the dividends, and dividends that the price did not follow;
8. rows that repeat earlier ones hours apart, volume included;
9. volumes that are no numbers, or that some rows lack;
10. prices of two digits that move by the last one: a history that was rounded.

Between series given together (`across`): bids above asks, and closes of what looks like one
instrument that disagree; sessions that all of them lack. Between a series and the bars held already
(`beside`), or what a corporate-action file remembers of them (`beside_references`): prices of another
size. Between a series and the present (`ahead`): times that are still to come.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import combinations
from math import exp, log
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import HOUR_US, PRICES, timeframe_us
from quality.splits import nearest
from quality.survey import Stamps, among, between, distinct, microseconds, shares

_DAY_US = 24 * HOUR_US
_WEEK_US = 7 * _DAY_US
_SUNDAY_US = 3 * _DAY_US  # 1970 began on a Thursday; a venue's week lies between two Sundays, 00:00 UTC
_UNITS = (100.0, 1_000.0, 10_000.0)
_NEAR_SPLIT = 0.03  # of a log ratio: what a night's trading adds to a split's
_NEAR_UNIT = 0.15
_FAR = 15.0  # times the usual step between closes: what no market does between a close and the next open
_LEAST_STEP = log(1.35)
_ROWS_OFF = 10  # from a split: how far away its half adjusted rows may begin
_LEAST_HALF_ADJUSTED = 0.5  # of a split's log: a smaller step some rows away is nothing special
_MOST = 5  # places that one sentence names
_WEEKS = 12  # that are tried for another zone
_RANGE = 10.0  # a high over its low; the worst real bars at hand (flash crashes) stay below 5
_REPEATED_ROWS = 4
_DISAGREE = 1e-3
_OTHER_PRICES = log(5)
_ROUNDED_MOVES = 20

Numbers = NDArray[np.float64]


class Suspicion(NamedTuple):
    """One thing that looks wrong."""

    name: str
    sentence: str


class Series(NamedTuple):
    """One series as it is looked at; the frames are as in `quality/survey.py`."""

    file: str
    name: str  # of the file, and of the series where it holds several
    timeframe: str
    rows: pl.DataFrame  # line ts open high low close volume
    due: pl.DataFrame | None  # session ts known_at, of the sessions from the first stamp to the last
    actions: pl.DataFrame  # ex_date kind value
    adjusted_close: pl.Series | None = None  # beside each row, where the file has one


def within(series: Series) -> list[Suspicion]:
    """Everything that looks wrong with one series."""
    bars = usable(series.rows)
    found = [*_of_prices(bars, series.actions), *_of_ranges(bars), *_of_repeats(bars)]
    found += [*_of_volumes(series.rows), *_of_rounding(bars)]
    if series.adjusted_close is not None and timeframe_us(series.timeframe) == _DAY_US:
        found += _of_adjustment(series.rows.with_columns(adjusted_close=series.adjusted_close), series.actions)
    stamps = distinct(series.rows)
    if series.due is not None and stamps.size:
        found += _of_times(stamps, series.due, timeframe=series.timeframe)
    return found


def across(together: Sequence[Series]) -> list[Suspicion]:
    """What looks wrong between series that were given together."""
    found: list[Suspicion] = []
    closes = {one.name: _closes(one) for one in together}
    for one, other in combinations(together, 2):
        if one.file == other.file:  # several contracts, alike and not the same
            continue
        shared = closes[one.name].join(closes[other.name], on="closed", suffix="_other")
        if shared.height >= 20:
            found += _of_quotes(one.name, other.name, shared) or _of_overlap(one.name, other.name, shared)
    return [*found, *_of_common_gaps(together)]


def beside(rows: pl.DataFrame, held: pl.DataFrame, *, split: float = 1.0) -> list[Suspicion]:
    """How the prices of a series fit the bars that are held of its instrument.

    Closes of the same bars are compared; where there are none, the last close with the open that follows it.

    Args:
        rows: of the series: `ts open high low close volume`.
        held: of its sessions, and of the one before and after: `ts open close`, sorted.
        split: new units per old one, of all splits known of these sessions; prices that one of the two has adjusted for
            it, or that follow it, are no other ones.
    """
    bars = usable(rows)
    if bars.is_empty():
        return []
    shared = bars.join(held, on="ts", suffix="_held")
    first, last = bars["ts"][0], bars["ts"][-1]
    if shared.height:
        factors = [float((shared["close"] / shared["close_held"]).median())]  # type: ignore[arg-type]
        where = f"in {_count(shared.height, 'bar')} that both have"
    else:
        before, after = held.filter(pl.col("ts") < first)[-1:], held.filter(pl.col("ts") > last)[:1]
        factors = [bars["open"][0] / close for close in before["close"]]
        factors += [bars["close"][-1] / opened for opened in after["open"]]
        where = "next to it"
    far = [
        factor
        for factor in factors
        if all(abs(log(factor * known)) >= _OTHER_PRICES for known in (1.0, split, 1 / split))
    ]
    return [
        Suspicion(
            "other_prices",
            f"prices are {factor:.4g} times those held {where}: probably another unit, another instrument, or a split",
        )
        for factor in far[:1]
    ]


def beside_references(references: pl.DataFrame, held: pl.DataFrame) -> list[Suspicion]:
    """How the closes that a corporate-action file was made with fit those that are held: `session close` both."""
    shared = references.join(held, on="session", suffix="_held").filter(pl.col("close") > 0, pl.col("close_held") > 0)
    if shared.is_empty():
        return []
    factor = float((shared["close"] / shared["close_held"]).median())  # type: ignore[arg-type]
    if abs(log(factor)) < _OTHER_PRICES:
        return []
    return [
        Suspicion(
            "other_prices",
            f"its closes are {factor:.4g} times those held of {_count(shared.height, 'session')} that both have: probably "
            "another instrument's, or of another unit",
        )
    ]


def ahead(rows: pl.DataFrame, *, at: datetime) -> list[Suspicion]:
    """Rows of times after the instant `at`, which nobody can have seen yet."""
    stamps = rows["ts"].drop_nulls()
    future = stamps.filter(stamps > at)
    if future.is_empty():
        return []
    return [
        Suspicion(
            "future",
            f"{future.len():,} of {_count(rows.height, 'row')} are of times after now, {at:%Y-%m-%d %H:%M}Z: nobody can have "
            "seen such bars; probably a wrong year, another unit of time, or made-up rows",
        )
    ]


def of_clock(stamps: Stamps, due: pl.DataFrame) -> list[Suspicion]:
    """What looks wrong with the stamps alone, of bars shorter than a day: a `zone`, or else a `label`.

    `due` reaches a week beyond the stamps, or less where the calendar ends; stamps may leave out weeks. Labels of a clock
    that is hours off fit nothing, so they are not looked at.
    """
    return [*_of_zone(stamps, microseconds(due["ts"]))] or [*_of_labels(stamps, due)]


def sampled_weeks(stamps: Stamps) -> list[int]:
    """Up to a dozen weeks that have stamps, over all of them, counted from the first Sunday of 1970."""
    weeks = np.unique((stamps - _SUNDAY_US) // _WEEK_US)
    at = np.unique(np.linspace(0, weeks.size - 1, min(weeks.size, _WEEKS)).astype(np.int64))
    chosen: list[int] = weeks[at].tolist()
    return chosen


def usable(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a stamp and four positive prices, sorted; of one stamp the last."""
    numbers = pl.all_horizontal(pl.col(price).is_finite() for price in PRICES)
    kept = rows.filter(pl.col("ts").is_not_null() & numbers & (pl.min_horizontal(PRICES) > 0))
    kept = kept if kept["ts"].is_sorted() else kept.sort("ts", maintain_order=True)
    return kept.filter((pl.col("ts") != pl.col("ts").shift(-1)).fill_null(value=True))


# Times


def _of_times(stamps: Stamps, due: pl.DataFrame, *, timeframe: str) -> Iterator[Suspicion]:
    length = timeframe_us(timeframe)
    wanted = microseconds(due["ts"])
    if length < _DAY_US:
        yield from of_clock(stamps, due)
    yield from _of_weekends(stamps, wanted)
    if missing := missing_sessions(stamps, due):
        yield Suspicion(
            "missing_sessions",
            f"{_count(len(missing), 'session')} without a single bar: {_places(missing)}; either the source lacks them or "
            "the calendar does not know that the venue was closed: compare another instrument of the venue",
        )


def _of_zone(stamps: Stamps, wanted: Stamps) -> Iterator[Suspicion]:
    """Trap 11: stamps outside all sessions that lie inside them some hours earlier or later."""
    fits: dict[int, int] = {}
    n_stray = n_seen = 0
    for week in sampled_weeks(stamps):
        begin = week * _WEEK_US + _SUNDAY_US
        there = _slice(stamps, begin, begin + _WEEK_US)
        around = _slice(wanted, begin - _WEEK_US, begin + 2 * _WEEK_US)
        strays = {hours: int((~among(there + hours * HOUR_US, around)).sum()) for hours in range(-14, 15)}
        best = min(strays, key=lambda hours: (strays[hours], abs(hours)))
        n_stray, n_seen = n_stray + strays[0], n_seen + there.size
        if strays[0]:
            fitted = best if strays[best] <= 0.1 * strays[0] else 0
            fits[fitted] = fits.get(fitted, 0) + 1
    moved = {hours: weeks for hours, weeks in fits.items() if hours}
    if n_stray >= max(3, 0.002 * n_seen) and sum(moved.values()) > fits.get(0, 0):
        shifts = " and ".join(
            f"{_count(abs(hours), 'hour')} {'later' if hours > 0 else 'earlier'} in {_count(weeks, 'week')}"
            for hours, weeks in sorted(moved.items(), key=lambda item: -item[1])
        )
        yield Suspicion(
            "zone",
            f"{n_stray:,} of {n_seen:,} stamps looked at lie outside the calendar's sessions and would fit {shifts}: the "
            "stamps are probably another zone's time, or local time called UTC: say the right one with --timezone",
        )


def _of_labels(stamps: Stamps, due: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 8: the first bar of each session is missing and there is one at its close instead.

    Sessions that follow each other without a pause are as one.
    """
    sessions = due.group_by("session", maintain_order=True).agg(
        first=pl.col("ts").min(), close=pl.col("known_at").max()
    )
    opens, closes = microseconds(sessions["first"]), microseconds(sessions["close"])
    opens, closes = opens[~among(opens, closes)], closes[~among(closes, opens)]
    seen = np.searchsorted(stamps, opens) < np.searchsorted(stamps, closes, side="right")
    ended = seen & (closes <= stamps[-1])
    late = ~among(opens, stamps) & among(closes, stamps)
    if ended.sum() >= 3 and late[ended].mean() >= 0.9:
        yield Suspicion(
            "label",
            f"{int(late[ended].sum())} of {int(ended.sum())} sessions lack the bar of their open and have one at their close: "
            "the stamps are probably the bars' closes: say so with --label close",
        )


def _of_weekends(stamps: Stamps, wanted: Stamps) -> Iterator[Suspicion]:
    weekdays, due_weekdays = (
        ((moments // _DAY_US) + 3) % 7 for moments in (stamps, wanted)
    )  # 1970 began on a Thursday
    n_saturdays = np.unique(wanted[due_weekdays == 5] // _DAY_US).size
    if n_saturdays >= 3 and not (weekdays == 5).any():
        yield Suspicion(
            "calendar",
            f"no bar on any of {n_saturdays} Saturdays: the venue probably does not trade around the clock; say which "
            "calendar is its own, such as --calendar XNYS or FX",
        )


def missing_sessions(stamps: Stamps, due: pl.DataFrame) -> list[date]:
    """Sessions between the first and the last stamp of which there is not one due bar; none where they are many."""
    first, last = pl.Series(stamps[[0, -1]]).cast(due.schema["ts"])
    due = between(due, first, last)
    there = among(microseconds(due["ts"]), stamps)
    sessions = due["session"].unique(maintain_order=True)
    missing: list[date] = sessions.filter(pl.Series(shares(due["session"], there) == 0)).to_list()
    return missing if len(missing) <= max(2, 0.05 * sessions.len()) else []


# Prices


def _of_prices(bars: pl.DataFrame, actions: pl.DataFrame) -> Iterator[Suspicion]:
    """Traps 22, 23 and 25: what happens between a close and the next open, where no market moves by such factors.

    A step that is taken back a few rows later is an error of those rows; one that stays is judged by its ratio.
    """
    if bars.height < 3:
        return
    opens, closes = (bars[column].to_numpy() for column in ("open", "close"))
    steps = _steps(opens, closes, microseconds(bars["ts"]) // _DAY_US)
    usual = _usual(closes)
    splits = actions.filter((pl.col("kind") == "split") & (pl.col("value") != 1))
    yield from _of_known_splits(bars, splits, steps, usual=usual)
    far = np.flatnonzero(np.abs(steps) >= max(_FAR * usual, _LEAST_STEP)).tolist()
    back = dict(_returns(far, steps, longest=max(5, bars.height // 10)))
    inside = {row for out, home in back.items() for row in (out, home)}
    between_closes: Numbers = np.diff(np.log(closes))
    stays = [at for at in far if at not in inside and abs(between_closes[at] - steps[at]) <= 0.25 * abs(steps[at])]
    yield from _of_blocks(back, steps, bars["ts"])
    units = [at for at in stays if _unit(steps[at])]
    if units:
        ratio = _unit(steps[units[0]])
        yield Suspicion(
            "unit",
            f"prices change by a factor of about {ratio:g} and stay there, at {_places(_moments(bars['ts'][[at + 1 for at in units]]))}: "
            "probably another unit, such as pence for pounds: tell the source, or scale one part",
        )
    yield from _of_splits([at for at in stays if at not in units], bars, splits, steps)


def _steps(opens: Numbers, closes: Numbers, days: Stamps) -> Numbers:
    """Log steps from each close to the next open; over a night the first bar may still open at the old price."""
    steps: Numbers = np.log(opens[1:] / closes[:-1])
    through = np.log(closes[1:] / closes[:-1])
    first_of_many = (np.diff(days) > 0) & (np.diff(days, append=days[-1] + 1)[1:] == 0)
    return np.where(first_of_many & (np.abs(through) > np.abs(steps)), through, steps)


def _returns(far: Sequence[int], steps: Numbers, *, longest: int) -> Iterator[tuple[int, int]]:
    """Pairs of neighbouring far steps that undo each other."""
    pending = list(far)
    while len(pending) > 1:
        out, home = pending[:2]
        undone = abs(steps[out] + steps[home]) <= 0.2 * abs(steps[out]) and home - out <= longest
        if undone:
            yield out, home
        pending = pending[2 if undone else 1 :]


def _of_blocks(back: dict[int, int], steps: Numbers, stamps: pl.Series) -> Iterator[Suspicion]:
    if not back:
        return
    out, home = next(iter(back.items()))
    ratio, n_rows = exp(steps[out]), home - out
    powers = abs(steps[out]) / log(10)
    decimal = round(powers) >= 1 and abs(powers - round(powers)) * log(10) <= _NEAR_UNIT
    cause = "a misplaced decimal point, another unit or a split" if decimal else "an error of these rows"
    yield Suspicion(
        "spike",
        f"prices jump by a factor of {ratio:.4g} and back, {_count(n_rows, 'row')} from {_moments(stamps[[out + 1]])[0]} on"
        + (f", and {_count(len(back) - 1, 'time')} more" if len(back) > 1 else "")
        + f": probably {cause}",
    )


def _of_splits(stays: Iterable[int], bars: pl.DataFrame, splits: pl.DataFrame, steps: Numbers) -> Iterator[Suspicion]:
    known = dict(splits.select("ex_date", "value").iter_rows())
    days = bars["ts"].dt.date()
    named = []
    for at in stays:
        terms = nearest(steps[at], within=_NEAR_SPLIT)
        explained = abs(steps[at] + log(known.get(days[at + 1], 1.0))) <= 2 * _NEAR_SPLIT
        if terms and not explained:
            named.append(f"{terms} at {days[at + 1]}")
    if named:
        yield Suspicion(
            "split",
            f"prices step as at a split and stay there: {_places(named)}; the file has no such split on that day: probably "
            "raw prices, or a split that was not adjusted for: bring the corporate action, or adjusted prices",
        )


def _of_known_splits(bars: pl.DataFrame, splits: pl.DataFrame, steps: Numbers, *, usual: float) -> Iterator[Suspicion]:
    """A split in the file, and a step of its size that it does not explain: the wrong way on its day, or some rows off."""
    days = bars["ts"].dt.date()
    for ex_date, value in splits.select("ex_date", "value").iter_rows():
        at, size = int(days.search_sorted(ex_date)) - 1, log(value)
        first = max(at - _ROWS_OFF, 0)
        near = steps[first : at + _ROWS_OFF + 1]
        alike = (np.abs(np.abs(near) - abs(size)) <= 0.1) & (np.abs(near) > 5 * usual)
        wrong = [
            first + step
            for step in np.flatnonzero(alike).tolist()
            if (near[step] * size > 0 if first + step == at else abs(size) > _LEAST_HALF_ADJUSTED)
        ]
        if wrong:
            yield Suspicion(
                "split",
                f"the file has a split of {value:g} on {ex_date}, and prices step by a factor of {exp(steps[wrong[0]]):.4g} at "
                f"{days[wrong[0] + 1]}, which that split does not explain: probably adjusted in part, or not at all",
            )


def _of_ranges(bars: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 46: a first print far from the market stays in a bar's range and breaks no rule."""
    wide = bars.filter(pl.col("high") > _RANGE * pl.col("low"))
    if not wide.is_empty():
        ratio = float((wide["high"] / wide["low"]).to_numpy().max())
        yield Suspicion(
            "range",
            f"{_count(wide.height, 'bar')} with a high of more than {_RANGE:g} times its low (up to {ratio:,.4g} times), at "
            f"{_places(_moments(wide['ts']))}: probably a first print or a typing error, not a price anyone could trade at",
        )


def _of_repeats(bars: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 13: at a splice of two zones the same hours come twice, volume and all."""
    traded = bars.filter((pl.col("volume") > 0) & (pl.col("high") > pl.col("low")))
    prints = traded.select(pl.struct(*PRICES, "volume").hash()).to_series()
    twice = prints.is_duplicated()
    if not twice.any():
        return
    places = pl.DataFrame({"row": np.arange(traded.height), "print": prints}).filter(twice)
    lags = places.with_columns(lag=pl.col("row") - pl.col("row").shift(1).over("print")).drop_nulls("lag")
    runs = lags.with_columns(
        run=((pl.col("row").diff() != 1) | (pl.col("lag").diff() != 0)).fill_null(value=True).cum_sum()
    )
    blocks = runs.group_by("run", maintain_order=True).agg(pl.col("row", "lag").first(), length=pl.len())
    blocks = blocks.filter(pl.col("length").is_between(_REPEATED_ROWS, "lag"))  # one price that stays is no splice
    if not blocks.is_empty():
        row, lag, length = blocks.select("row", "lag", "length").row(0)
        moments = _moments(traded["ts"][[row - lag, row]])
        yield Suspicion(
            "repeated_rows",
            f"{_count(length, 'row')} from {moments[0]} on come again from {moments[1]} on with the same prices and volume"
            + (f", and {_count(blocks.height - 1, 'block')} more" if blocks.height > 1 else "")
            + ": probably a splice of two files whose clocks differ, so one side of it is in another zone",
        )


def _of_volumes(rows: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 40: text in a volume, or infinity; and rows without one beside rows that have one."""
    volumes = rows["volume"]
    if unreadable := int(volumes.is_finite().not_().sum()):
        yield Suspicion(
            "volume",
            f"{_count(unreadable, 'row')} {'has' if unreadable == 1 else 'have'} a volume that is no number, which a night "
            "refuses (unreadable_volume)",
        )
    priced = rows.filter(pl.all_horizontal(pl.col(price).is_finite() for price in PRICES))
    lacking = priced["volume"].null_count()
    if 0 < lacking < priced.height:
        yield Suspicion(
            "volume",
            f"{_count(lacking, 'row')} of {priced.height:,} {'lacks' if lacking == 1 else 'lack'} a volume, and the others have one",
        )


def _of_rounding(bars: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 44: neighbouring bars of two digits that usually move by the last one, so what they did lies in the rounding."""
    prices = bars.select(PRICES).to_numpy()
    digits = prices / 10.0 ** (np.floor(np.log10(prices) + 1e-12) - 1)
    coarse = (np.abs(digits - np.round(digits)) < 1e-6).all(axis=1)
    together = coarse[1:] & coarse[:-1]
    moves = np.abs(np.diff(prices[:, -1]))[together]
    moves = moves[moves > 0]
    if moves.size < _ROUNDED_MOVES:
        return
    levels = np.unique(prices[coarse])
    steps = np.diff(levels)
    step = float(steps[steps > 1e-9 * levels[1:]].min())
    if np.median(moves) <= 1.5 * step:
        first = int(np.flatnonzero(coarse)[0])
        yield Suspicion(
            "rounding",
            f"{_count(int(coarse.sum()), 'bar')} from {_moments(bars['ts'][[first]])[0]} on have prices of two digits at most "
            f"(such as {prices[first, -1]:g}) and move by no more than the last one ({step:.1g}): a history that was rounded, so "
            "returns there are mostly rounding; take one with more digits, or raw prices",
        )


# Adjusted closes


def _of_adjustment(rows: pl.DataFrame, actions: pl.DataFrame) -> Iterator[Suspicion]:
    """Trap 26: from one row to the next, adjusted over raw close changes by 1 / (1 - dividend / close before), or not."""
    paid = actions.filter(pl.col("kind") == "dividend").group_by("ex_date").agg(paid=pl.col("value").sum())
    steps = (
        rows.filter((pl.col("close") > 0) & pl.col("adjusted_close").is_finite())
        .sort("ts")
        .with_columns(ex_date=pl.col("ts").dt.date())
        .join(paid, on="ex_date", how="left", maintain_order="left")
        .with_columns(pl.col("paid").fill_null(0.0), before=pl.col("close").shift(1))
        .with_columns(
            step=(pl.col("adjusted_close") / pl.col("close")).log().diff(),
            due=-(1 - pl.col("paid") / pl.col("before")).log(),
            fell=1 - pl.col("open") / pl.col("before"),
        )
        .drop_nulls("step")
    )
    wrong = steps.filter(
        ((pl.col("step") - pl.col("due")).abs() > pl.max_horizontal(0.005, 0.2 * pl.col("due").abs()))
        | ~pl.col("step").is_finite()
        | ~pl.col("due").is_finite()
    )
    if not wrong.is_empty():
        yield Suspicion(
            "adjusted_close",
            f"the adjusted close does not follow from the dividends at {_places(wrong['ex_date'])}: a dividend is missing, "
            "wrong or not adjusted for; the prices themselves may be right",
        )
    paid_on = steps.filter(pl.col("paid") > 0)
    if not paid_on.is_empty():
        yield from _of_dividends(paid_on, usual=_usual(steps["close"].to_numpy()))


def _of_dividends(paid_on: pl.DataFrame, *, usual: float) -> Iterator[Suspicion]:
    """Dividends that are consistent with the adjusted closes and not with what the price did, or with each other."""
    share, a_few_days = pl.col("paid") / pl.col("before"), timedelta(days=10)
    unfelt = (share > 0.1) & (pl.col("fell") < share / 2 - 2 * usual)
    dwarfed = (share < 0.0003) & (pl.col("paid").max() > 200 * pl.col("paid"))
    repeated = (pl.col("ex_date").diff() <= a_few_days) & (pl.col("paid").pct_change().abs() < 0.25)
    doubts = (
        ("of more than a tenth of the price that the price did not fall by", unfelt, 1),
        ("that a much larger one makes look like another unit", dwarfed, 3),
        ("that nearly repeat the one a few days before", repeated, 1),
    )
    for doubt, wrong, fewest in doubts:
        days = paid_on.filter(wrong)["ex_date"]
        if days.len() >= fewest:
            yield Suspicion(
                "dividend", f"dividends {doubt}, at {_places(days)}: probably wrong, whatever was adjusted for"
            )


# Between series


def _closes(series: Series) -> pl.DataFrame:
    length = pl.duration(microseconds=timeframe_us(series.timeframe))
    return usable(series.rows).select(closed=pl.col("ts") + length, close="close")


def _of_quotes(one: str, other: str, shared: pl.DataFrame) -> list[Suspicion]:
    """Trap 45."""
    sides = [next((side for side in ("bid", "ask") if side in _words(name)), None) for name in (one, other)]
    if set(sides) != {"bid", "ask"}:
        return []
    bid, ask = ("close", "close_other") if sides[0] == "bid" else ("close_other", "close")
    crossed = shared.filter(pl.col(bid) > pl.col(ask)).height
    if not crossed:
        return []
    return [
        Suspicion(
            "crossed_quotes",
            f"{one} and {other}: the bid closes above the ask in {crossed:,} of {shared.height:,} bars; such bars have no "
            "spread that could be paid",
        )
    ]


def _of_overlap(one: str, other: str, shared: pl.DataFrame) -> list[Suspicion]:
    """Trap 14: closes at the same moments, near enough to be one instrument's, that differ."""
    apart = (shared["close"] / shared["close_other"]).log().abs()
    moves = shared.select(pl.corr(pl.col("close").log().diff(), pl.col("close_other").log().diff())).item()
    middle = float(np.median(apart.to_numpy()))
    if middle > 0.03 or not (moves or 0) > 0.5:
        return []
    n_apart = int((apart > _DISAGREE).sum())
    if n_apart <= 0.05 * shared.height:
        return []
    return [
        Suspicion(
            "disagreement",
            f"{one} and {other} look like one instrument and disagree by more than {_DISAGREE:.1%} in {n_apart:,} of "
            f"{shared.height:,} closes at the same moments (by {middle:.2%} in the middle): another venue than the name says, "
            "or one of the clocks is off",
        )
    ]


def _of_common_gaps(together: Sequence[Series]) -> Iterator[Suspicion]:
    """Trap 47, and 30: what no series of a venue has was not lost on the way of one."""
    dated = [(distinct(one.rows), one.due) for one in together if one.due is not None]
    gaps = [(set(missing_sessions(stamps, due)), set(due["session"])) for stamps, due in dated if stamps.size]
    missing = {day for lacked, _ in gaps for day in lacked}
    common = sorted(
        day
        for day in missing
        if all(day in lacked for lacked, spanned in gaps if day in spanned)
        and sum(day in spanned for _, spanned in gaps) > 1
    )
    if common:
        yield Suspicion(
            "common_gap",
            f"every series lacks {_places(common)}: suspect the calendar (a closing it does not know: correct it in "
            "policies/calendars.yaml) or an outage of whoever collected them",
        )


# Helpers


def _usual(closes: Numbers) -> float:
    """The usual step between closes, as a log return; half a percent where prices hardly move."""
    return max(float(np.median(np.abs(np.diff(np.log(closes))))), 0.005)


def _unit(step: float) -> float | None:
    """The ratio of two units that a step is up or down by."""
    return next((ratio for ratio in _UNITS if abs(abs(step) - log(ratio)) <= _NEAR_UNIT), None)


def _slice(moments: Stamps, first: int, end: int) -> Stamps:
    begin, stop = np.searchsorted(moments, [first, end])
    return moments[begin:stop]


def _moments(stamps: pl.Series) -> list[str]:
    return stamps.dt.strftime("%Y-%m-%d %H:%M").to_list()


def _words(name: str) -> set[str]:
    return {word for word in "".join(letter if letter.isalnum() else " " for letter in name.lower()).split() if word}


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _places(places: Iterable[object]) -> str:
    """The first few, and how many more."""
    all_of_them = [str(place) for place in places]
    more = len(all_of_them) - _MOST
    return ", ".join(all_of_them[:_MOST]) + (f" and {more:,} more" if more > 0 else "")
