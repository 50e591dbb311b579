"""What is asked of a source for one instrument: a name and sessions, in pieces that can each be kept.

A span is cut where the source renamed the instrument, and into pieces of so many days. Days before
it was listed and after it was delisted are not asked for: a piece without a name says so, and is
delivered empty, so that they count as asked.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from resources.sources.protocol import Instrument

_DAY = timedelta(days=1)


class Piece(NamedTuple):
    name: str | None  # what the source calls the instrument; None: there is nothing to ask for
    first: date
    last: date


def pieces(instrument: Instrument, *, first: date, last: date, n_days: int) -> Iterator[Piece]:
    """Pieces that follow each other from `first` to `last`, both included, none asked for longer than `n_days`."""
    begin = first
    for name, listed_from, until in instrument.asked_as(first, last):
        if begin < listed_from:
            yield Piece(None, begin, listed_from - _DAY)
        begin = listed_from
        while begin <= until:
            end = min(begin + (n_days - 1) * _DAY, until)
            yield Piece(name, begin, end)
            begin = end + _DAY
    if begin <= last:
        yield Piece(None, begin, last)
