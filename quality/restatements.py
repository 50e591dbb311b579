"""Which of all good rows for one moment is the accepted bar, and what every later receipt changed of it.

Receipts are gone through in the order in which they came, for every ts at once:

1. the first good row of a ts is its accepted bar;
2. a good row of a later receipt takes its place where it differs by more than float noise: the bar
   was `changed`. Otherwise the older bytes stay;
3. a row that a later one of the same receipt contradicts, where the data set keeps the last, was
   `superseded` by that last one;
4. a receipt that covers the ts of an accepted bar and has no row at it, good or not, has `withdrawn`
   it: the bar is kept. It is said once, by the first receipt that lacks the ts after one that had it.

A receipt covers every ts of the sessions it speaks for, also where it brought no rows: its source was
asked for them. One that came from a file was asked for nothing and covers only what lies between its
first row and its last, so that a file of a session's evening withdraws nothing of its morning.

All of it follows from the rows and receipts of a range of sessions alone, so it is written anew with them.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import COLUMNS

NOISE = 1e-12  # relative; below it a difference between receipts is float noise, not a restatement
FILES = "files"  # the source of receipts that were read from files
_NEW = {column: f"new_{column}" for column in COLUMNS}
_TOLD = ("session", "ts", "sequence", "line", "kind", "received_at", *COLUMNS, *_NEW.values())


class Succession(NamedTuple):
    """The good rows that were accepted, at first and in the end; columns as those of the rows given."""

    accepted: pl.DataFrame  # one row a ts, sorted
    first: pl.DataFrame  # the first good row of each ts, sorted
    changed: pl.DataFrame  # the rows that took the place of another, in order of receipt
    replaced: pl.DataFrame  # the row that each of `changed` took the place of


def succession(good: pl.DataFrame) -> Succession:
    """Go through good rows, sorted by ts and sequence with at most one row for both, and choose.

    A null volume and one that is NaN are the same: not known.
    """
    again = good["ts"] == good["ts"].shift(1)
    if not again.any():
        return Succession(good, good, good.clear(), good.clear())
    starts = (~again.fill_null(value=False)).arg_true().to_numpy().astype(np.int64)
    values = good.select(pl.col(COLUMNS).fill_null(float("nan"))).to_numpy()
    held, old, new = _choose(starts, values)
    return Succession(accepted=good[held], first=good[starts], changed=good[new], replaced=good[old])


def with_extent(receipts: pl.DataFrame) -> pl.DataFrame:
    """Receipts with `whole first last`: whether they cover whole sessions, and between which ts where they do not.

    Without a `source` they were pulled.
    """
    told = receipts.columns
    whole = pl.col("source").ne_missing(FILES) if "source" in told else pl.lit(value=True)
    ends = [pl.lit(None, pl.Datetime("us", "UTC")).alias(end) for end in ("first", "last") if end not in told]
    return receipts.with_columns(*ends, whole=whole)


def restatements(rows: pl.DataFrame, chosen: Succession, receipts: pl.DataFrame) -> pl.DataFrame:
    """Every bar that a receipt changed, superseded or withdrew, sorted by ts and sequence.

    Args:
        rows: all rows of the range, good or not: `session sequence line ts open high low close volume received_at
            superseded`, sorted by ts, sequence and line.
        chosen: what `succession` made of the good ones.
        receipts: `sequence received_at first_session last_session` of all that speak for the range, `with_extent`.

    Returns:
        `session ts sequence line kind received_at`, the old values under the names of the columns, the new ones under
        `new_open` and so on. `sequence` and `line` are the row that restated the bar; of a superseded row its own; a
        bar that was withdrawn has no row, so its line is 0 and the new values are null.
    """
    told = [_changed(chosen), _superseded(rows), _withdrawn(rows, chosen, receipts)]
    return pl.concat(told).sort("ts", "sequence", "kind", "line")


def _choose(
    starts: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of groups of rows that begin at `starts`: the row each holds in the end, and the pairs of replaced and replacing.

    The nth rows of all groups are compared at once: the loop is as long as the longest group, and looks in each pass at
    the groups that are that long. A loop over receipts took 34 s for 365 nights that bring two sessions each; this, 0.1 s.
    """
    sizes = np.diff(np.append(starts, len(values)))
    held = starts.copy()
    old, new = [starts[:0]], [starts[:0]]
    groups = np.flatnonzero(sizes > 1)
    place = 1
    while groups.size:
        current, later = held[groups], starts[groups] + place
        differ = ~_same(values[current], values[later])
        held[groups[differ]] = later[differ]
        old.append(current[differ])
        new.append(later[differ])
        place += 1
        groups = groups[sizes[groups] > place]
    return held, np.concatenate(old), np.concatenate(new)


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """By row. Most of what comes twice is equal to the last bit, so noise is looked into only where it is not."""
    equal: NDArray[np.bool_] = (one == other).all(axis=1)
    unsure = np.flatnonzero(~equal)
    old, new = one[unsure], other[unsure]
    with np.errstate(invalid="ignore"):  # a volume may be infinite, and unknown
        near = np.abs(old - new) <= NOISE * np.maximum(np.abs(old), np.abs(new))
    equal[unsure] = ((old == new) | near | (np.isnan(old) & np.isnan(new))).all(axis=1)
    return equal


def _changed(chosen: Succession) -> pl.DataFrame:
    new = chosen.changed.select(pl.col(column).alias(name) for column, name in _NEW.items())
    labels = chosen.changed.select("session", "ts", "sequence", "line", "received_at", kind=pl.lit("changed"))
    return pl.concat([labels, chosen.replaced.select(COLUMNS), new], how="horizontal").select(_TOLD)


def _superseded(rows: pl.DataFrame) -> pl.DataFrame:
    old = rows.filter("superseded")
    if old.is_empty():
        return _none(rows)
    same_ts = ["ts", "sequence"]
    last = rows.join(old, on=same_ts, how="semi", maintain_order="left").group_by(same_ts).agg(pl.col(COLUMNS).last())
    return old.join(last.rename(_NEW), on=same_ts).with_columns(kind=pl.lit("superseded")).select(_TOLD)


def _withdrawn(rows: pl.DataFrame, chosen: Succession, receipts: pl.DataFrame) -> pl.DataFrame:
    by_order = ["ts", "sequence"]
    owed = _owed(chosen.first, receipts)
    lacking = owed.join(rows.select(by_order), on=by_order, how="anti") if owed.height else owed
    if lacking.is_empty():
        return _none(rows)
    had = rows.join(lacking, on="ts", how="semi").select(*by_order, had="sequence")
    held = pl.concat([chosen.first, chosen.changed]).join(lacking, on="ts", how="semi").select(*by_order, *COLUMNS)
    return (
        _as_of(_as_of(lacking, had), held)
        .filter(pl.col("had") >= pl.col("before").fill_null(0))
        .join(receipts.select("sequence", "received_at"), on="sequence", how="left")
        .with_columns(*(pl.lit(None, pl.Float64).alias(name) for name in _NEW.values()))
        .with_columns(line=pl.lit(0, pl.Int64), kind=pl.lit("withdrawn"))
        .select(_TOLD)
    )


def _none(rows: pl.DataFrame) -> pl.DataFrame:
    new = {name: rows[column] for column, name in _NEW.items()}
    return (
        rows.clear()
        .with_columns(kind=pl.lit(""), **{name: values.clear() for name, values in new.items()})
        .select(_TOLD)
    )


def _as_of(rows: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the newest of `history` that has the same ts and came before."""
    return rows.sort("sequence").join_asof(
        history.sort("sequence"), on="sequence", by="ts", strategy="backward", check_sortedness=False
    )


def _owed(first: pl.DataFrame, receipts: pl.DataFrame) -> pl.DataFrame:
    """`session ts sequence before`: what receipts had to bring again, of bars that an earlier one had brought.

    `before` is the newest receipt before them, later than the bar's own, that had to as well; null where none had.
    """
    if receipts.height == 1:
        return first.clear().select("session", "ts", "sequence", before="sequence")
    sessions = first.group_by("session").agg(since=pl.col("sequence").min()).sort("session")
    spoken = receipts.sort("sequence")
    starts = sessions["session"].search_sorted(spoken["first_session"], side="left")
    ends = sessions["session"].search_sorted(spoken["last_session"], side="right")
    speaking = (
        spoken.select(
            "sequence", "whole", "first", "last", place=pl.int_ranges(starts.cast(pl.Int64), ends.cast(pl.Int64))
        )
        .explode("place", empty_as_null=False)
        .join(sessions.with_columns(place=pl.int_range(pl.len())), on="place")
        .sort("session", "sequence")
        .filter(pl.col("sequence") > pl.col("since"))
        .drop("place", "since")
    )
    if speaking.is_empty():
        return speaking
    covered = pl.col("whole") | pl.col("ts").is_between("first", "last")
    before = pl.when(pl.col("ts") == pl.col("ts").shift(1)).then(pl.col("sequence").shift(1))
    return (
        first.select("session", "ts", since="sequence")
        .join(speaking, on="session", maintain_order="left_right")  # by ts, then by sequence
        .filter(pl.col("sequence") > pl.col("since"), covered)
        .select("session", "ts", "sequence", before=before)
    )
