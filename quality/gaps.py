"""Which due bars are missing, and why, as far as anybody can tell.

1. Every due bar of an instrument that was not accepted is missing. Of its kind is said: rows came for it
   and were quarantined (`refused`); the SLA fills what nothing traded in, and it was filled (`no_trade`);
   or nothing is known (`unknown`).
2. Where at least two instruments were due and nothing came of any of them, nobody was listening: of all
   of them the bar is an `outage`, also where it was filled.
3. A gap is a run of missing bars of one kind within a session.

What lies outside a venue's hours, and what is not over yet, is never due: it is no gap.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quality.datasets import Instrument

KINDS = ("refused", "no_trade", "unknown", "outage")
_PRESENT = -1
_REFUSED, _NO_TRADE, _UNKNOWN, _OUTAGE = range(len(KINDS))
_TS = pl.Datetime("us", "UTC")
_SCHEMA = pl.Schema({"session": pl.Date(), "first": _TS, "last": _TS, "n_bars": pl.Int64()})

Places = NDArray[np.int64]


class _Runs(NamedTuple):
    """Bars of one kind that follow each other, by their places among the due ones; both ends are included."""

    starts: Places
    ends: Places
    kinds: NDArray[np.int8]


def of_instrument(
    due: pl.DataFrame, accepted: pl.DataFrame, refused: pl.DataFrame, filled: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The gaps of one instrument, looked at alone: `session first last n_bars kind`, sorted, none of kind `outage`.

    Args:
        due: every bar that should exist: `session ts`, sorted by ts.
        accepted: its accepted bars: `ts`.
        refused: its quarantined rows: `ts`, null where it was not readable.
        filled: the bars that were filled because nothing traded: `ts`.

    Returns:
        `first` and `last` are the ts of a gap's first and last bar.
    """
    if accepted.height == due.height:
        return _frame(due, _Runs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8)))
    stamps = due["ts"].to_physical().to_numpy()
    kinds = np.full(due.height, _UNKNOWN, np.int8)
    for kind, rows in ((_NO_TRADE, filled), (_REFUSED, refused), (_PRESENT, accepted)):
        if rows is not None:
            kinds[_places(stamps, rows["ts"])] = kind
    return _frame(due, _runs(kinds, due["session"].to_physical().to_numpy()))


def with_outages(gaps: pl.DataFrame, due: pl.DataFrame, instruments: Iterable[Instrument]) -> pl.DataFrame:
    """The gaps of all instruments of a data set, cut where all of them begin or cease to miss together.

    Args:
        gaps: of each as `of_instrument` gives them, with `instrument`.
        due: every bar that should exist of an instrument that is listed throughout: `session ts`, sorted by ts.
        instruments: all of the data set; each is due in the sessions of its listing.

    Returns:
        `session first last n_bars kind instrument`, sorted by instrument and first.
    """
    stamps = due["ts"].to_physical().to_numpy()
    starts = stamps.searchsorted(gaps["first"].to_physical().to_numpy())
    kinds = gaps.select(pl.col("kind").replace_strict(KINDS, range(len(KINDS)), return_dtype=pl.Int8)).to_series()
    runs = _Runs(starts, starts + gaps["n_bars"].to_numpy() - 1, kinds.to_numpy())
    silent = runs.kinds != _REFUSED
    n_silent = _depth(runs.starts[silent], runs.ends[silent], due.height)
    n_due = _n_due(due, instruments)
    everyone = (n_due >= 2) & (n_silent == n_due)
    owners, cut = _cut(runs, everyone)
    cut.kinds[everyone[cut.starts] & (cut.kinds != _REFUSED)] = _OUTAGE
    owners, cut = _joined(gaps["instrument"].rle_id().to_numpy(), owners, cut, due)
    return _frame(due, cut).with_columns(gaps["instrument"].gather(owners)).sort("instrument", "first")


def _places(stamps: Places, wanted: pl.Series) -> Places:
    """Where those of `wanted` that are due stand among `stamps`."""
    moments = wanted.drop_nulls().to_physical().to_numpy()
    places = stamps.searchsorted(moments)
    inside = places < stamps.size
    places, moments = places[inside], moments[inside]
    due: Places = places[stamps[places] == moments]
    return due


def _runs(kinds: NDArray[np.int8], days: NDArray[np.int32]) -> _Runs:
    """Runs of missing bars; a new one begins where kind or session change."""
    begins = np.flatnonzero((kinds[1:] != kinds[:-1]) | (days[1:] != days[:-1])) + 1
    starts, ends = np.concatenate([[0], begins]), np.concatenate([begins, [kinds.size]]) - 1
    missing = kinds[starts] != _PRESENT
    return _Runs(starts[missing], ends[missing], kinds[starts[missing]])


def _depth(starts: Places, ends: Places, n: int) -> Places:
    """How many of the runs lie over each of `n` places."""
    steps = np.bincount(starts, minlength=n + 1) - np.bincount(ends + 1, minlength=n + 1)
    depths: Places = np.cumsum(steps[:n])
    return depths


def _n_due(due: pl.DataFrame, instruments: Iterable[Instrument]) -> Places:
    """How many instruments each bar is due of."""
    sessions = due["session"]
    spans = [
        (
            sessions.search_sorted(one.listed, side="left") if one.listed else 0,
            sessions.search_sorted(one.delisted, side="right") if one.delisted else due.height,
        )
        for one in instruments
    ]
    starts, ends = np.array([span for span in spans if span[0] < span[1]], np.int64).reshape(-1, 2).T
    return _depth(starts, ends - 1, due.height)


def _cut(runs: _Runs, everyone: NDArray[np.bool_]) -> tuple[Places, _Runs]:
    """The runs in pieces over each of which `everyone` is one and the same, and which run each piece is of."""
    changes = np.flatnonzero(everyone[1:] != everyone[:-1]) + 1
    begin = changes.searchsorted(runs.starts, side="right")
    n_pieces = changes.searchsorted(runs.ends, side="right") - begin + 1
    n_pieces[runs.kinds == _REFUSED] = 1
    owners = np.repeat(np.arange(n_pieces.size), n_pieces)
    place = np.arange(owners.size) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    fenced = np.concatenate([[0], changes, [0]])  # the ends are looked up and not used
    is_first, is_last = place == 0, place == n_pieces[owners] - 1
    starts = np.where(is_first, runs.starts[owners], fenced[begin[owners] + place])
    ends = np.where(is_last, runs.ends[owners], fenced[begin[owners] + place + 1] - 1)
    return owners, _Runs(starts, ends, runs.kinds[owners])


def _joined(names: NDArray[np.uint32], owners: Places, runs: _Runs, due: pl.DataFrame) -> tuple[Places, _Runs]:
    """Pieces of one kind that follow each other in a session as one: what was filled, and what nobody knows of."""
    days = due["session"].to_physical().to_numpy()[runs.starts]
    begins = np.ones(owners.size, np.bool_)
    begins[1:] = (
        (names[owners][1:] != names[owners][:-1])
        | (days[1:] != days[:-1])
        | (runs.kinds[1:] != runs.kinds[:-1])
        | (runs.starts[1:] != runs.ends[:-1] + 1)
    )
    ends = np.append(begins[1:], True)[: owners.size]
    return owners[begins], _Runs(runs.starts[begins], runs.ends[ends], runs.kinds[begins])


def _frame(due: pl.DataFrame, runs: _Runs) -> pl.DataFrame:
    columns: dict[str, pl.Series | Places] = {
        "session": due["session"].gather(runs.starts),
        "first": due["ts"].gather(runs.starts),
        "last": due["ts"].gather(runs.ends),
        "n_bars": runs.ends - runs.starts + 1,
    }
    names = pl.Series("kind", KINDS).gather(runs.kinds.astype(np.int64))
    return pl.DataFrame(columns, _SCHEMA).with_columns(names)
