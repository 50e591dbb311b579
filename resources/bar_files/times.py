"""Stamps as written, made into instants by a layout's rules.

In this order: text is read by the layout's patterns, an offset behind it wins over the zone, a number is an
epoch of its own magnitude, a time of day is put behind its date. What cannot be read, does not exist in its
zone or exists twice becomes null. Then a stamp of a bar shorter than a day is its instant in UTC, that of a
longer one the date as written.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import polars as pl

from engine.bars import timeframe_us
from quality.formats import Times
from resources.errors import MixedDatesError, NamelessDayError

NAIVE = pl.Datetime("us")
UTC_TIME = pl.Datetime("us", "UTC")
DAY_US = 86_400_000_000
_WEEK_DAYS = 7
_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # of an epoch; text may be older
_YEARS = (1800, 2200)  # beyond them a pattern took the wrong digits for the year, or a count is of another unit
_DAYS = tuple((date(year, 1, 1) - date(1970, 1, 1)).days for year in (_YEARS[0], _YEARS[1] + 1))  # since 1970
_UNIT_NS = {"ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_MAX_TAILS = 10_000
_DATE_BYTES = len("2017-01-02")
_MAX_OFFSET_US = 18 * 3_600_000_000


class Stamping(NamedTuple):
    """All that decides what a stamp means."""

    times: Times
    dated: bool  # bars of a day or more: labelled by their date
    day: date | None  # of stamps that are a time of day
    latest: datetime  # no epoch is later
    file: str


def written(frame: pl.DataFrame, stamping: Stamping, *, n_before: int = 0) -> pl.DataFrame:
    """`wall` (the time as written), `instant` (UTC) and `timed` (whether a time of day was written) of every row.

    Raises MixedDatesError where a stamp can only be read with day and month exchanged.
    """
    times = stamping.times
    if "ts" in frame.columns:
        return _of_column(frame["ts"], stamping, n_before)
    if "date" in frame.columns:
        return _of_column(frame["date"] + " " + frame["time"], stamping, n_before)
    if stamping.day is None:
        raise NamelessDayError(stamping.file)
    if times.since_midnight is None:
        return _of_column(f"{stamping.day.isoformat()} " + frame["time"], stamping, n_before)
    since = frame["time"].cast(pl.Int64, strict=False) * _EPOCH_US[times.since_midnight]
    midnight = (stamping.day - date(1970, 1, 1)).days * DAY_US
    wall = (_where(since.is_between(0, DAY_US, closed="left"), since) + midnight).cast(NAIVE)
    return _of_walls(wall, times, timed=True)


def labelled(stamps: pl.DataFrame, stamping: Stamping) -> pl.Series:
    """The label of each bar as far as it is known without the timeframe: a session's date, or an instant."""
    closes = stamping.times.label == "close"
    if stamping.dated:
        # A day that ends at the next one's 00:00 belongs to the day before; a date alone is the session's name.
        early = pl.when(pl.col("timed") & closes).then(pl.duration(microseconds=1)).otherwise(pl.duration())
        return stamps.select(ts=(pl.col("wall") - early).dt.truncate("1d").dt.replace_time_zone("UTC"))["ts"]
    instants = stamps["instant"]
    return rounded_up(instants) if closes else instants


def rounded_up(instants: pl.Series) -> pl.Series:
    """An end written as its last millisecond, ….999, made the instant it means."""
    micros = instants.cast(pl.Int64)
    rest = micros % 1_000_000
    short = (rest >= 999_000).fill_null(value=False)
    return (micros + (1_000_000 - rest) * short.cast(pl.Int64)).cast(UTC_TIME)


def measured(ts: pl.Series, series: pl.Series | None) -> timedelta | None:
    """The most frequent distance of neighbours, of equally frequent ones the shortest; None where there is none."""
    frame = pl.DataFrame({"ts": ts, "series": series if series is not None else pl.repeat(0, ts.len(), eager=True)})
    steps = pl.col("ts").diff().dt.total_microseconds().abs()
    frame = frame.drop_nulls("ts").select(step=steps.over("series") if series is not None else steps)
    counts = frame.filter(pl.col("step") > 0).group_by("step").len().sort(["len", "step"], descending=[True, False])
    return timedelta(microseconds=counts["step"][0]) if counts.height else None


def spelled(step: timedelta, *, dated: bool) -> str | None:
    """A measured distance as a timeframe; None where no bar has that length.

    >>> spelled(timedelta(minutes=5), dated=False), spelled(timedelta(days=3), dated=True)
    ('5m', '1d')
    """
    if dated:  # two sessions around a weekend are three days apart
        return "1d" if step.days < _WEEK_DAYS else "1w" if step.days == _WEEK_DAYS else None
    length = round(step.total_seconds() * 1_000_000)
    if DAY_US % length or length % 1_000_000:
        return None
    seconds = length // 1_000_000
    for unit in ("d", "h", "m", "s"):
        size = timeframe_us(f"1{unit}") // 1_000_000
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return None


def _of_column(column: pl.Series, stamping: Stamping, n_before: int) -> pl.DataFrame:
    times, dtype = stamping.times, column.dtype
    if dtype == pl.Date:
        return _of_walls(_bounded(column, 1).cast(NAIVE), times, timed=False)
    if isinstance(dtype, pl.Datetime):
        bounded = _bounded(column, DAY_US * 1_000 // _UNIT_NS[dtype.time_unit])
        if dtype.time_zone is None:
            return _of_walls(bounded.cast(NAIVE), times, timed=True)
        return _of_instants(bounded.cast(UTC_TIME), times)
    if dtype.is_numeric():
        return _of_instants(_epochs(column, times.epoch or "auto", stamping.latest), times)
    text = column if dtype == pl.String else pl.repeat(None, column.len(), dtype=pl.String, eager=True)
    read = _of_text_or_counts(text, stamping)
    if read["wall"].null_count() > text.null_count():
        _refuse_mixed(text, read["wall"], stamping, n_before)
    return read


def _bounded(column: pl.Series, per_day: int) -> pl.Series:
    """Dates or times by their counts, null outside the years: polars panics where it converts what has no year."""
    first, end = (day * per_day for day in _DAYS)
    return _where(column.to_physical().is_between(first, end, closed="left"), column)


def _of_text_or_counts(text: pl.Series, stamping: Stamping) -> pl.DataFrame:
    """Stamps by the patterns and as epochs, whichever reads them; what reads the first is tried first, as most are alike."""

    def as_text(left: pl.Series) -> pl.DataFrame:
        return _of_text(left, stamping.times)

    def as_counts(left: pl.Series) -> pl.DataFrame:
        return _of_instants(_epochs(left, stamping.times.epoch or "auto", stamping.latest), stamping.times)

    if stamping.times.epoch is None:
        return as_text(text)
    likely, other = as_text, as_counts
    if not as_text(text.drop_nulls().head(1))["wall"].count():
        likely, other = as_counts, as_text
    read = likely(text)
    if read["wall"].null_count() == text.null_count():
        return read
    rest = other(_where(read["wall"].is_null(), text))
    return pl.select(
        pl.when(read["wall"].is_null()).then(rest[name]).otherwise(read[name]).alias(name) for name in read.columns
    )


def _of_text(text: pl.Series, times: Times) -> pl.DataFrame:
    """Text by the patterns, with an offset behind it or without; what the first text has is tried first."""
    patterns = times.spelled()
    offset_first = _without_offset(text.drop_nulls().head(1))[0].count() > 0
    plain = None if offset_first else _by_patterns(text, patterns)
    if plain is not None and plain.null_count() == text.null_count():
        return _of_walls(plain, times, timed=text.str.len_bytes() > _DATE_BYTES)
    bare, offset = _without_offset(text if plain is None else _where(plain.is_null(), text))
    wall = _by_patterns(bare, patterns)
    instant = (wall.cast(pl.Int64) - offset).cast(UTC_TIME)
    if plain is None and wall.null_count() > text.null_count():
        plain = _by_patterns(_where(wall.is_null(), text), patterns)
    if plain is not None:
        wall, instant = wall.fill_null(plain), instant.fill_null(_localized(plain, times.zone))
    return _row_wise(wall, instant, timed=text.str.len_bytes() > _DATE_BYTES)


def _by_patterns(text: pl.Series, patterns: tuple[str, ...]) -> pl.Series:
    """Each text by the first pattern that reads it; one that reads the first text is tried first, as most are alike."""
    found = pl.repeat(None, text.len(), dtype=NAIVE, eager=True)
    n_open = text.null_count()
    if n_open == text.len() or not patterns:
        return found
    first = text.drop_nulls().head(1)
    likely = next((pattern for pattern in patterns if _parse(first, pattern).count()), patterns[0])
    plain = (likely, *(pattern for pattern in patterns if pattern != likely))
    for pattern in (*plain, *(f"{each}%.f" for each in plain if each.endswith("%S"))):
        left = text if found.null_count() == text.len() else _where(found.is_null(), text)
        found = found.fill_null(_parse(left, pattern))
        if found.null_count() == n_open:
            break
    return found


def _parse(text: pl.Series, pattern: str) -> pl.Series:
    read = text.str.to_datetime(pattern, strict=False, time_unit="us")
    return _where(read.dt.year().is_between(*_YEARS), read) if read.count() else read


def _without_offset(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Text before a `Z` or an offset such as +05:30 behind a time, and the offset in microseconds; else null, null."""
    tails = text.str.tail(6)
    unique = tails.drop_nulls().unique()
    offsets = {tail: _offset(tail) for tail in unique} if unique.len() <= _MAX_TAILS else {}
    known = {tail: found for tail, found in offsets.items() if found is not None}
    old = list(known)
    length = tails.replace_strict(old, [found[1] for found in known.values()], default=None, return_dtype=pl.Int64)
    offset = tails.replace_strict(old, [found[0] for found in known.values()], default=None, return_dtype=pl.Int64)
    frame = pl.DataFrame({"text": text, "length": length})
    lengths = sorted({found[1] for found in known.values()})
    cut = [pl.when(pl.col("length") == n).then(pl.col("text").str.head(-n)) for n in lengths]
    bare = frame.select(bare=pl.coalesce(*cut, pl.lit(None, dtype=pl.String)).str.strip_chars_end()).to_series()
    return _where(bare.str.contains(":", literal=True), bare), offset


def _offset(tail: str) -> tuple[int, int] | None:
    """The offset that a stamp's last six characters hold, in microseconds, and how many of them it takes."""
    if tail.endswith("Z"):
        return 0, 1
    match = _OFFSET.fullmatch(tail) or _OFFSET.fullmatch(tail[1:])
    if match is None:
        return None
    micros = int(match[1] + "1") * (int(match[2]) * 60 + int(match[3])) * 60_000_000
    return (micros, len(match[0])) if abs(micros) <= _MAX_OFFSET_US else None


def _epochs(column: pl.Series, unit: str, latest: datetime) -> pl.Series:
    """Counts since 1970 as instants; null outside 1990 and `latest`, where a count of another unit would lie."""
    counts = pl.DataFrame({"whole": column.cast(pl.Int64, strict=False)})
    micros = _as_micros(pl.col("whole"), unit)
    if counts["whole"].null_count() > column.null_count():  # 1463544000.5
        counts = counts.with_columns(broken=column.cast(pl.Float64, strict=False))
        micros = pl.coalesce(micros, _as_micros(pl.col("broken"), unit).round().cast(pl.Int64, strict=False))
    found = counts.select(micros.cast(UTC_TIME)).to_series()
    return _where(found.is_between(_EARLIEST, latest).fill_null(value=False), found)


def _as_micros(count: pl.Expr, unit: str) -> pl.Expr:
    if unit == "ns":
        return count // 1_000
    if unit != "auto":
        return count * _EPOCH_US[unit]
    size = count.abs()
    return (
        pl.when(size < 100_000_000_000)
        .then(count * 1_000_000)
        .when(size < 100_000_000_000_000)
        .then(count * 1_000)
        .when(size < 100_000_000_000_000_000)
        .then(count)
        .otherwise(count // 1_000)
    )


def _of_instants(instants: pl.Series, times: Times) -> pl.DataFrame:
    if times.misread_as is not None:
        instants = (
            instants.dt.convert_time_zone(times.misread_as).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
        )
    wall = instants.dt.convert_time_zone(times.zone).dt.replace_time_zone(None)
    return _row_wise(wall, instants, timed=True)


def _of_walls(wall: pl.Series, times: Times, *, timed: pl.Series | bool) -> pl.DataFrame:
    return _row_wise(wall, _localized(wall, times.zone), timed=timed)


def _where(kept: pl.Series, values: pl.Series) -> pl.Series:
    """The values that are kept, null for the others."""
    return pl.select(pl.when(kept).then(values)).to_series()


def _localized(wall: pl.Series, zone: str) -> pl.Series:
    if zone == "UTC":
        return wall.dt.replace_time_zone("UTC")
    return wall.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC")


def _row_wise(wall: pl.Series, instant: pl.Series, *, timed: pl.Series | bool) -> pl.DataFrame:
    return pl.DataFrame({"wall": wall, "instant": instant}).with_columns(timed=pl.lit(timed))


def _refuse_mixed(text: pl.Series, wall: pl.Series, stamping: Stamping, n_before: int) -> None:
    numeric = [pattern for pattern in stamping.times.spelled() if pattern.startswith(("%d", "%m"))]
    if not numeric:
        return
    unread = _where(wall.is_null(), text)
    exchanged = tuple(re.sub("%[dm]", lambda part: "%m" if part[0] == "%d" else "%d", pattern) for pattern in numeric)
    other = _by_patterns(unread, exchanged).is_not_null().arg_true()
    if other.len():
        row = int(other[0])
        order = "day first" if numeric[0].startswith("%d") else "month first"
        raise MixedDatesError(stamping.file, n_before + row + 1, str(text[row]), order=order)
