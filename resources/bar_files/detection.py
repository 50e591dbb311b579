"""Which layout a file has: what its columns are called decides, then whether its first rows can be read that way.

With a header, JSON keys or Parquet columns a layout must give every one of them a role. Without, it
must have as many columns and several rows must be bars under it: stamps, prices, a high that is the
highest. A layout under which most of the first rows cannot be read is none of the file's.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from engine.bars import timeframe_us
from quality.formats import PRICE_ROLES, Format
from resources.bar_files.numbers import number
from resources.bar_files.tables import Columns, Table
from resources.bar_files.times import DAY_US, Stamping, measured, written
from resources.errors import MixedDatesError

_FEWEST_ROWS = 3  # of a file without names that is recognized by its rows
_MOST = 0.5
_NEARLY_ALL = 0.9
_SOME_DAY = date(2000, 1, 3)  # whether times of day can be read does not depend on the day


class Choices(NamedTuple):
    """What the caller says of the file, which wins over the layout."""

    timezone: str | None
    label: str | None
    timeframe: str | None
    day: date | None
    latest: datetime


class Fit(NamedTuple):
    """A layout that a file can be read by."""

    layout: Format
    columns: Columns
    stamping: Stamping


def fits(table: Table, layouts: Iterable[Format], choices: Choices, *, file: str, asked: bool) -> list[Fit]:
    """The layouts the file fits; raises MixedDatesError where dates contradict every layout that is left.

    `asked`: the layout was named by the caller, so a short file need not prove it.
    """
    found: list[Fit] = []
    contradiction: MixedDatesError | None = None
    for layout in layouts:
        columns = table.columns(layout)
        if columns is None:
            continue
        try:
            fit = _fitted(table, layout, columns, choices, file=file, asked=asked)
        except MixedDatesError as error:
            contradiction = error
        else:
            found += [] if fit is None else [fit]
    if not found and contradiction is not None:
        raise contradiction
    return _agreeing(found, choices)


def breaks_body(frame: pl.DataFrame) -> pl.Series:
    """Rows with four prices of which the high is not the highest, or the low not the lowest."""
    high, low = (pl.col("high"), pl.col("low"))
    broken = (high < pl.max_horizontal("open", "close")) | (low > pl.min_horizontal("open", "close")) | (high < low)
    return frame.select(broken).to_series()


def _fitted(table: Table, layout: Format, columns: Columns, choices: Choices, *, file: str, asked: bool) -> Fit | None:
    frame = columns.named(table.sample(columns), file=file)
    nameless = layout.names is None and layout.heading is None
    if nameless and _begins_with_headings(frame, layout):
        return None
    times = layout.times.model_copy(
        update={"zone": choices.timezone or layout.times.zone, "label": choices.label or layout.times.label}
    )
    stamping = Stamping(times, dated=False, day=choices.day, latest=choices.latest, file=file)
    stamps = written(frame, stamping._replace(day=choices.day or _SOME_DAY))
    readable = _readable_share(frame, stamps, layout)
    if nameless and not asked:
        fitting = readable >= _NEARLY_ALL and _looks_like_bars(frame, layout)
    else:
        fitting = readable >= _MOST
    if not fitting or (not asked and _unproven_marks(frame, layout)):
        return None
    return Fit(layout, columns, stamping._replace(dated=_dated(frame, stamps, choices)))


def _readable_share(frame: pl.DataFrame, stamps: pl.DataFrame, layout: Format) -> float:
    """Of the stamps and of each price, the smallest share of written cells that can be read."""
    stamp = frame["ts" if "ts" in frame.columns else "time"]
    pairs = [(stamps["wall"], stamp), *((number(frame[role], layout), frame[role]) for role in PRICE_ROLES)]
    return min(read.count() / cells.count() if cells.count() else 1.0 for read, cells in pairs)


def _begins_with_headings(frame: pl.DataFrame, layout: Format) -> bool:
    return not any(number(frame[role].head(1), layout).count() for role in PRICE_ROLES)


def _looks_like_bars(frame: pl.DataFrame, layout: Format) -> bool:
    complete = pl.DataFrame({role: number(frame[role], layout) for role in PRICE_ROLES}).drop_nulls()
    return complete.height >= _FEWEST_ROWS and breaks_body(complete).sum() < _MOST * complete.height


def _unproven_marks(frame: pl.DataFrame, layout: Format) -> bool:
    """Whether the prices do not show how they are written.

    A thousands mark, 1.234, is not believed without a 1.234,5 that tells it from a decimal mark; prices that are
    multiplied by a power of ten are whole numbers.
    """
    cells = [frame[role] for role in PRICE_ROLES if frame[role].dtype == pl.String]
    fractions = any(each.str.contains(layout.decimal_mark, literal=True).any() for each in cells)
    if layout.price_divisor != 1:
        return fractions
    mark = layout.thousands_mark
    return mark is not None and not fractions and any(each.str.contains(mark, literal=True).any() for each in cells)


def _dated(frame: pl.DataFrame, stamps: pl.DataFrame, choices: Choices) -> bool:
    """Whether a bar is a day or longer, so that its stamp is a date."""
    if choices.timeframe is not None:
        return timeframe_us(choices.timeframe) >= DAY_US
    step = measured(stamps["wall"], frame["series"] if "series" in frame.columns else None)
    if step is None:
        return not stamps["timed"].any()
    return step.total_seconds() * 1e6 >= DAY_US


def _agreeing(found: list[Fit], choices: Choices) -> list[Fit]:
    """Where the caller names a time zone or a label, the layouts that say the same, if there are any."""
    said = [
        fit
        for fit in found
        if choices.timezone in {None, fit.layout.times.zone} and choices.label in {None, fit.layout.times.label}
    ]
    return said or found
