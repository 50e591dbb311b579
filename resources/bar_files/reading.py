"""Reading a bar file: rightly or not at all.

1. What the file is, by its content (`containers`), and its columns (`tables`).
2. Which layouts it fits (`detection`): none, or two that read it differently, is refused.
3. All its rows, chunk by chunk: stamps (`times`) and numbers (`numbers`). Every row is kept; a cell that
   cannot be read is null, and NaN where it is a volume.
4. The timeframe, as said or as measured between the stamps; a stamp of a bar's close goes back by one.
5. Refused as a whole: no price in any row, prices under each other's name, two stamp columns that disagree.
"""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple, get_args

import polars as pl

from engine.bars import timeframe_us
from quality.formats import PRICE_ROLES, Format, Label, known_zone
from resources import clock
from resources.bar_files.containers import Content, look_into
from resources.bar_files.detection import Choices, Fit, breaks_body, fits
from resources.bar_files.layouts import load_formats, named
from resources.bar_files.numbers import number, volumes
from resources.bar_files.tables import Table, first_line, open_table
from resources.bar_files.times import Stamping, labelled, measured, rounded_up, spelled, written
from resources.errors import (
    AmbiguousLayoutError,
    DamagedFileError,
    DisagreeingColumnsError,
    ExchangedColumnsError,
    MixedDatesError,
    NoDataError,
    UnknownLabelError,
    UnknownLayoutError,
    UnknownZoneError,
    UnmeasurableTimeframeError,
)
from resources.sources.protocol import RECEIVED

_DAY_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_ACTIONS = pl.Schema({"ex_date": pl.Date(), "kind": pl.String(), "value": pl.Float64()})
_ACTION_ROLES = ("dividend", "split")
_MOST = 0.5
_FEWEST_ROWS = 5


class Series(NamedTuple):
    """One instrument's rows."""

    name: str | None  # what the file calls it, where it says so
    # as RECEIVED; `line` is the row's number in the file's data, null is what cannot be read (NaN: a volume that is none)
    rows: pl.DataFrame
    actions: pl.DataFrame  # ex_date kind value; empty where the layout has none
    adjusted_close: pl.Series | None = None  # beside each row's raw close, where the layout has it


class BarFile(NamedTuple):
    """A file that was read."""

    format: str  # the name of the layout
    timeframe: str
    series: tuple[Series, ...]
    split_adjusted: bool = False  # its splits are in its prices already, and must not be applied to them again


def read_bar_file(
    path: Path,
    *,
    format_name: str | None = None,
    timezone: str | None = None,
    label: str | None = None,
    timeframe: str | None = None,
    day: date | None = None,
    formats: Mapping[str, Format] | None = None,
) -> BarFile:
    """Every row of a bar file, by series.

    Args:
        path: the file; gzip and zip around it are opened.
        format_name: its layout; otherwise that is found out.
        timezone: of stamps without an offset, instead of the layout's.
        label: what a stamp names, `open` or `close`, instead of the layout's.
        timeframe: how long its bars are; otherwise that is measured.
        day: the date of stamps that are a time of day.
        formats: the layouts that are known; otherwise those of the package.

    Raises:
        UnreadableFileError: with a sentence that says what was expected and what was found.
    """
    if timezone is not None and not known_zone(timezone):
        raise UnknownZoneError(timezone)
    if label not in {None, *get_args(Label)}:
        raise UnknownLabelError(str(label))
    known = load_formats() if formats is None else formats
    asked = None if format_name is None else named(format_name, known)
    content = look_into(Path(path))
    layouts = [asked] if asked else [each for each in known.values() if not each.by_name_only]
    layouts = [each for each in layouts if each.container == content.kind]
    latest = clock.now() + timedelta(days=1)
    choices = Choices(timezone, label, timeframe, day or _day_in_name(content.inner), latest)
    try:
        table = open_table(content)
        return _only(_readings(content, table, layouts, choices, asked=asked), content.name)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, RecursionError) as error:
        raise DamagedFileError(content.name, first_line(error)) from error


def _readings(
    content: Content, table: Table, layouts: list[Format], choices: Choices, *, asked: Format | None
) -> list[BarFile]:
    """The file as each layout that it fits reads it; those whose order of day and month it contradicts are none."""
    found = fits(table, layouts, choices, file=content.name, asked=asked is not None)
    if not found:
        why = f"it does not fit the layout {asked.name!r}" if asked else "its layout is not known"
        raise UnknownLayoutError(content.name, table.shown(), why)
    readings: list[BarFile] = []
    contradiction: MixedDatesError | None = None
    for fit in found:
        try:
            readings.append(_read(content, table, fit, choices.timeframe))
        except MixedDatesError as error:
            contradiction = error
        except UnmeasurableTimeframeError:
            if len(found) == 1:
                raise
            raise AmbiguousLayoutError(content.name, [each.layout.name for each in found]) from None
    if not readings and contradiction is not None:
        raise contradiction
    return readings


def _only(readings: list[BarFile], file: str) -> BarFile:
    """The one reading; layouts that read the file alike are no ambiguity."""
    first, *others = readings
    if any(not _alike(first, other) for other in others):
        raise AmbiguousLayoutError(file, [reading.format for reading in readings])
    return first


def _alike(one: BarFile, other: BarFile) -> bool:
    if (one.timeframe, len(one.series)) != (other.timeframe, len(other.series)):
        return False
    return all(a.rows.equals(b.rows) for a, b in zip(one.series, other.series, strict=True))


def _read(content: Content, table: Table, fit: Fit, timeframe: str | None) -> BarFile:
    rows = _rows(content, table, fit)
    if rows.is_empty():
        raise NoDataError(content.name, "0 rows")
    if not any(rows[role].count() for role in PRICE_ROLES):
        raise NoDataError(content.name, f"{rows.height} {'row' if rows.height == 1 else 'rows'}, and no price in any")
    _refuse_exchanged(rows, content.name)
    length = timeframe or _measured(rows, fit.stamping, content.name)
    if "close_ts" in rows.columns:
        _refuse_other_ends(rows, length, content.name)
    if fit.stamping.times.label == "close" and not fit.stamping.dated:
        rows = rows.with_columns(pl.col("ts") - pl.duration(microseconds=timeframe_us(length)))
    return BarFile(fit.layout.name, length, tuple(_series(rows)), fit.layout.split_adjusted)


def _rows(content: Content, table: Table, fit: Fit) -> pl.DataFrame:
    parts: list[pl.DataFrame] = []
    n_rows = 0
    for chunk in table.chunks(fit.columns):
        named_columns = fit.columns.named(chunk, file=content.name, n_before=n_rows)
        parts.append(_parsed(named_columns, fit, n_rows))
        n_rows += chunk.height
    return pl.concat(parts) if parts else pl.DataFrame(schema=RECEIVED)


def _parsed(frame: pl.DataFrame, fit: Fit, n_before: int) -> pl.DataFrame:
    """One chunk: `line ts open high low close volume`, and what else the layout has."""
    layout, stamping = fit.layout, fit.stamping
    stamps = written(frame, stamping, n_before=n_before)
    columns = {"ts": labelled(stamps, stamping)}
    for role in (*PRICE_ROLES, "adjusted_close"):
        if role in frame.columns:
            price = number(frame[role], layout)
            columns[role] = price if layout.price_divisor == 1 else price / layout.price_divisor
    columns["volume"] = _volume(frame, layout)
    if any(role in frame.columns for role in _ACTION_ROLES):
        columns["written_on"] = stamps["wall"].dt.date()
        columns |= {role: number(frame[role], layout) for role in _ACTION_ROLES if role in frame.columns}
    if "series" in frame.columns:
        columns["series"] = frame["series"].cast(pl.String)
    if "same_ts" in frame.columns:
        again = written(frame.select(ts="same_ts"), stamping, n_before=n_before)
        _refuse_other_stamps(stamps["instant"], again["instant"], n_before, stamping.file)
    if "close_ts" in frame.columns:
        columns["close_ts"] = rounded_up(written(frame.select(ts="close_ts"), stamping, n_before=n_before)["instant"])
    lines = pl.int_range(n_before + 1, n_before + frame.height + 1, dtype=pl.Int64, eager=True)
    return pl.DataFrame({"line": lines, **columns})


def _volume(frame: pl.DataFrame, layout: Format) -> pl.Series:
    if "volume" not in frame.columns:
        return pl.repeat(None, frame.height, dtype=pl.Float64, eager=True)
    volume = volumes(frame["volume"], layout)
    return volume if layout.volume_factor == 1 else volume * layout.volume_factor


def _measured(rows: pl.DataFrame, stamping: Stamping, file: str) -> str:
    step = measured(rows["ts"], rows["series"] if "series" in rows.columns else None)
    if step is None:
        if stamping.dated:
            return "1d"
        raise UnmeasurableTimeframeError(file, f"{rows['ts'].n_unique()} distinct stamps in {rows.height} rows")
    length = spelled(step, dated=stamping.dated)
    if length is None:
        raise UnmeasurableTimeframeError(file, f"most of them are {step} apart")
    return length


def _series(rows: pl.DataFrame) -> list[Series]:
    if "series" not in rows.columns:
        return [_one(None, rows)]
    parts = rows.partition_by("series", maintain_order=True)
    return [_one(part["series"][0], part) for part in parts]


def _one(name: str | None, rows: pl.DataFrame) -> Series:
    adjusted = rows["adjusted_close"] if "adjusted_close" in rows.columns else None
    return Series(name, rows.select(RECEIVED.names()), _actions(rows), adjusted)


def _actions(rows: pl.DataFrame) -> pl.DataFrame:
    """What happened on the rows' days: a dividend other than 0, a split other than 0 and 1."""
    none = {"dividend": [0.0], "split": [0.0, 1.0]}
    parts = [
        rows.filter(pl.col(role).is_not_null(), ~pl.col(role).is_in(none[role])).select(
            ex_date="written_on", kind=pl.lit(role), value=role
        )
        for role in _ACTION_ROLES
        if role in rows.columns
    ]
    return pl.concat([pl.DataFrame(schema=_ACTIONS), *parts]).sort("ex_date", "kind")


def _day_in_name(name: str) -> date | None:
    days = {"-".join(parts) for parts in _DAY_IN_NAME.findall(Path(name).name)}
    try:
        return date.fromisoformat(days.pop()) if len(days) == 1 else None
    except ValueError:
        return None


def _refuse_exchanged(rows: pl.DataFrame, file: str) -> None:
    """Most rows impossible as named, and one pair of other names under which none is."""
    complete = rows.select(PRICE_ROLES).drop_nulls()
    n_broken = int(breaks_body(complete).sum())
    if complete.height < _FEWEST_ROWS or n_broken <= _MOST * complete.height:
        return
    extremes = complete.select(
        *((pl.col(role) == pl.max_horizontal(PRICE_ROLES)).all().alias(f"{role} highest") for role in PRICE_ROLES),
        *((pl.col(role) == pl.min_horizontal(PRICE_ROLES)).all().alias(f"{role} lowest") for role in PRICE_ROLES),
    ).row(0, named=True)
    highest = next((role for role in PRICE_ROLES if extremes[f"{role} highest"]), None)
    lowest = next((role for role in PRICE_ROLES if extremes[f"{role} lowest"]), None)
    if highest and lowest:
        raise ExchangedColumnsError(file, n_rows=n_broken, highest=highest, lowest=lowest)


def _refuse_other_stamps(one: pl.Series, other: pl.Series, n_before: int, file: str) -> None:
    if (different := (one != other).arg_true()).len():
        row = int(different[0])
        raise DisagreeingColumnsError(file, n_before + row + 1, first=f"{one[row]}", second=f"{other[row]}")


def _refuse_other_ends(rows: pl.DataFrame, timeframe: str, file: str) -> None:
    length = pl.duration(microseconds=timeframe_us(timeframe))
    different = rows.filter(pl.col("close_ts") - pl.col("ts") != length)
    if different.height:
        row, start, end = different.select("line", "ts", "close_ts").row(0)
        raise DisagreeingColumnsError(
            file, row, first=f"the start {start}", second=f"the end {end}, for bars of {timeframe}"
        )
