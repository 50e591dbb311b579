"""Numbers as written, made into floats by a layout's rules; a cell that is no number becomes null, its column stays one.

Of volumes two things are told apart: one that nobody knows is null, and one that is written and is no number is NaN, so
that the row rule `unreadable_volume` refuses its row.
"""

import re

import polars as pl

from quality.formats import Format

_NOT_KNOWN = ("", "nan", "null", "none", "nil", "-", "--", ".", "n/a", "n.a.", "na", "#n/a", "<na>")


def number(column: pl.Series, layout: Format, *, powers: bool = False) -> pl.Series:
    """One column as Float64, to the last bit of what is written; `powers` allows 93.93M."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    if column.dtype != pl.String:
        return pl.repeat(None, column.len(), dtype=pl.Float64, eager=True)
    plain = _without_marks(column, layout)
    read = plain.cast(pl.Float64, strict=False)
    if read.null_count() == plain.null_count():
        return read
    stripped = plain.str.strip_chars()
    read = read.fill_null(stripped.cast(pl.Float64, strict=False))
    for suffix, power in layout.powers.items() if powers else ():
        scaled = stripped.str.strip_suffix(suffix) + f"e{power}"  # shifts the decimal point, so nothing is rounded
        ends = stripped.str.ends_with(suffix)
        read = read.fill_null(pl.select(pl.when(ends).then(scaled)).to_series().cast(pl.Float64, strict=False))
    return read


def volumes(column: pl.Series, layout: Format) -> pl.Series:
    """A column of volumes as Float64: null where none is known, NaN where something else than a number is written."""
    read = number(column, layout, powers=True).fill_nan(None)
    written = column.is_not_null()
    if column.dtype.is_float():
        written &= column.is_not_nan()
    elif column.dtype == pl.String:
        written &= ~column.str.strip_chars().str.to_lowercase().is_in(_NOT_KNOWN)
    return read.set(written & read.is_null(), float("nan"))


def _without_marks(text: pl.Series, layout: Format) -> pl.Series:
    """Text with a decimal point and without thousands marks; null where a mark stands in a wrong place."""
    decimal, thousands = layout.decimal_mark, layout.thousands_mark
    if thousands is not None:
        mark, point = re.escape(thousands), re.escape(decimal)
        grouped = text.str.contains(rf"^\s*[+-]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{point}|[^\d{thousands}{decimal}]|\s*$)")
        marked = text.str.contains(thousands, literal=True)
        joined = text.str.replace_all(thousands, "", literal=True)
        text = pl.select(pl.when(~marked).then(text).when(grouped).then(joined)).to_series()
    if decimal == ",":
        text = pl.select(pl.when(~text.str.contains(".", literal=True)).then(text)).to_series()
        text = text.str.replace(",", ".", literal=True)
    return text
