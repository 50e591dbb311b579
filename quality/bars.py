"""What a bar must be: row rules by name, and which of all received rows is the accepted one.

For one instrument and one range of sessions, in this order:

1. every received row is given its session: that of the due bar at its ts; else the first session
   that is not closed before its ts, so that a session owns what lies after the close before it, up
   to and with its own close (where one session's close is another's open, the moment is the
   other's); else (no readable ts) the first session its receipt speaks for. Rows of sessions outside
   the range are left to the ranges that own them;
2. rows of one receipt with one ts are told apart: where all are equal one is kept and the others
   are counted; where they differ all are refused, unless the data set keeps the last: then those
   before it are superseded and break no rule;
3. every row is held against every rule; a row that breaks any is quarantined with all of them;
4. of what is left, the newest receipt's row is the accepted bar, except where it equals an older
   one within float noise: then the older bytes stay (`quality/restatements.py`);
5. each session's rows are counted as they were brought last: those of the newest receipt that speaks
   for the session, also where it brought none, and of those before it the rows whose ts none after
   them covers (a file covers only what lies between its first row and its last). A row without a
   readable ts may lie anywhere, so any newer receipt that speaks for its session covers it.
"""

from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from engine.bars import COLUMNS, PRICES, timeframe_us
from quality.restatements import Succession, restatements, succession, with_extent

_DAY_US = timeframe_us("1d")
_EVER = datetime.min.replace(tzinfo=UTC)
_OHLC = [pl.col(price) for price in PRICES]
_NUMBERS = pl.all_horizontal(price.is_finite().fill_null(value=False) for price in _OHLC)

ROW_RULES: dict[str, pl.Expr] = {
    "unparsable_ts": pl.col("ts").is_null(),
    "null_ohlc": ~_NUMBERS,
    "non_positive_price": _NUMBERS & (pl.min_horizontal(PRICES) <= 0),
    "high_below_body": _NUMBERS & (pl.col("high") < pl.max_horizontal("open", "close")),
    "low_above_body": _NUMBERS & (pl.col("low") > pl.min_horizontal("open", "close")),
    "negative_volume": pl.col("volume") < 0,
    "unreadable_volume": ~pl.col("volume").is_finite(),
    "improbable_range": _NUMBERS & (pl.col("low") > 0) & (pl.col("high") > pl.col("low") * pl.col("max_range_ratio")),
    "off_grid": ~pl.col("on_grid"),  # null for a bar that is due
    "off_session": pl.col("on_grid"),
    "unclosed_bar": pl.col("received_at") < pl.col("known_at"),
    "conflicting_duplicate": pl.col("conflicting"),
}


class Judged(NamedTuple):
    """What became of one instrument's received rows."""

    accepted: pl.DataFrame  # session ts open high low close volume sequence: one row a ts, sorted
    quarantined: pl.DataFrame  # session sequence line ts open high low close volume rules
    counts: pl.DataFrame  # session received refused null_rows conflicting identical outside_hours disordered n_timed
    # lateness_minutes: a row per session that has rows
    restatements: pl.DataFrame  # as `quality/restatements.py` gives them


def judge(
    raw: pl.DataFrame,
    receipts: pl.DataFrame,
    due: pl.DataFrame,
    closes: pl.DataFrame,
    *,
    first: date,
    last: date,
    timeframe: str,
    on_conflict: Literal["refuse", "keep_last"] = "refuse",
    max_range_ratio: float | None = None,
) -> Judged:
    """Hold received rows against every rule and choose the accepted bars of the sessions from `first` to `last`.

    Args:
        raw: one instrument's rows in any order: `sequence line ts open high low close volume`.
        receipts: all that speak for a session of the range, and those that `raw` has rows of: `sequence received_at
            first_session last_session`, and `source first last` where some were read from files.
        due: every bar that should exist in the range: `session ts known_at`, sorted by ts.
        closes: the calendar's sessions from the one before `first` to the one after `last`: `session open close`.
        first: the first session of the range; `last` is the last one, included.
        timeframe: length of the bars. Its grid is counted from midnight UTC and from each session's open: a ts on
            either lies on the grid.
        on_conflict: what becomes of different rows with one ts in one receipt.
        max_range_ratio: of a bar's high to its low, above which nobody traded so; none where it is not given.

    A row with a null, NaN or infinite price breaks `null_ohlc` and no other price rule. A null volume is allowed: nobody
    knows it. NaN is one that was written and is no number.
    Lateness is counted of accepted bars whose first good row came in a receipt of a single session.
    """
    receipts = with_extent(receipts)
    placed = _placed(raw, receipts, due, closes, length_us=timeframe_us(timeframe))
    placed = placed.filter(pl.col("session").is_between(first, last))
    rows = _with_duplicates(_with_receipts(placed, receipts, closes), on_conflict=on_conflict)
    rows = rows.with_columns(_counted(rows, receipts), max_range_ratio=pl.lit(max_range_ratio, pl.Float64))
    broken = pl.any_horizontal(rule.fill_null(value=False) for rule in ROW_RULES.values())
    rows = rows.with_columns(refused=broken & ~pl.col("superseded"))
    quarantined = _quarantined(rows.filter("refused"))
    good = rows.filter("kept", ~pl.col("refused"))
    chosen = succession(good)
    return Judged(
        accepted=chosen.accepted.select("session", "ts", *COLUMNS, "sequence"),
        quarantined=quarantined.select("session", "sequence", "line", "ts", *COLUMNS, "rules"),
        counts=_counts(rows, quarantined, chosen),
        restatements=restatements(rows, chosen, receipts),
    )


def filled_bars(accepted: pl.DataFrame, due: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Bars for the moments at which nothing traded: they repeat the close before them, with a volume of zero.

    A session without any accepted bar is not filled: nothing tells it from an outage. Nor is what lies before the
    instrument's first bar.

    Args:
        accepted: `session ts open high low close volume sequence`, sorted.
        due: `session ts known_at`, sorted by ts.
        before: accepted bars before the first due one, sorted; the last is enough, and there may be none.

    Returns:
        The filled bars alone, with the columns of `accepted`; `sequence` is that of the bar whose close is repeated.
    """
    known = before.select(accepted.columns).tail(1).vstack(accepted)
    return (
        due.join(accepted.select("session").unique(), on="session", how="semi", maintain_order="left")
        .join(accepted, on="ts", how="anti", maintain_order="left")
        .join_asof(known.select("ts", "close", "sequence"), on="ts", strategy="backward")
        .drop_nulls("close")
        .with_columns(*(pl.col("close").alias(price) for price in PRICES), volume=pl.lit(0.0))
        .select(accepted.columns)
    )


def digests(bars: pl.DataFrame) -> pl.DataFrame:
    """`session digest n_bars` of one instrument's accepted bars, sorted by ts.

    A digest is blake2b-256 over the session's rows: ts as int64 µs and the five columns as float64, little-endian;
    -0.0 counts as 0.0, a null volume as NaN.
    """
    packed = np.empty(bars.height, dtype=[("ts", "<i8"), *((column, "<f8") for column in COLUMNS)])
    packed["ts"] = bars["ts"].dt.timestamp("us").to_numpy()
    for column in COLUMNS:
        packed[column] = bars[column].fill_null(float("nan")).to_numpy() + 0.0
    runs = bars.select(pl.col("session").rle()).unnest("session")
    ends = runs["len"].cum_sum().to_list()
    # A hash per session in Python is not worth avoiding: 421,000 bars of 1,461 sessions take 50 ms with all the packing.
    view = packed.view(np.uint8).data
    width = packed.itemsize
    hashes = [blake2b(view[a * width : b * width], digest_size=32).hexdigest() for a, b in pairwise([0, *ends])]
    return pl.DataFrame(
        {"session": runs["value"], "digest": hashes, "n_bars": runs["len"].cast(pl.Int32)},
        schema={"session": pl.Date, "digest": pl.String, "n_bars": pl.Int32},
    )


def moments(closes: pl.DataFrame) -> pl.DataFrame:
    """`session begin end` of the moments that each of `closes` owns: from `begin` up to `end`, without it.

    Those after the close before it, up to and with its own close; where the next session opens then, that one's. The
    first of `closes` owns all that came before it.

    Args:
        closes: neighbouring sessions in order: `session open close`.
    """
    own_close = pl.col("close").ne_missing(pl.col("open").shift(-1))
    end = pl.col("close") + pl.when(own_close).then(timedelta(microseconds=1)).otherwise(timedelta(0))
    return closes.select("session", begin=end.shift(1).fill_null(_EVER), end=end)


def _placed(
    raw: pl.DataFrame, receipts: pl.DataFrame, due: pl.DataFrame, closes: pl.DataFrame, *, length_us: int
) -> pl.DataFrame:
    """Rows with `session known_at on_grid`; the last two are null where they do not apply."""
    rows = raw.select("sequence", "line", "ts", *COLUMNS).join(due, on="ts", how="left", maintain_order="left")
    due_here = pl.col("known_at").is_not_null()
    none = pl.lit(None, pl.Boolean)
    parts = [rows.filter(due_here).with_columns(on_grid=none)]
    if parts[0].height < rows.height:
        stray = rows.filter(~due_here).drop("session")
        parts += [
            _owned(stray.drop_nulls("ts"), closes, length_us=length_us).select(parts[0].columns),
            _undated(stray.filter(pl.col("ts").is_null()), receipts, closes)
            .with_columns(on_grid=none)
            .select(parts[0].columns),
        ]
    return pl.concat(parts)


def _owned(stray: pl.DataFrame, closes: pl.DataFrame, *, length_us: int) -> pl.DataFrame:
    """Dated rows that are not due: of the session that owns their moment; of their UTC date beyond the last close."""
    owners = closes.select(
        owner="session",
        opened="open",
        closed="close",
        next_owner=pl.col("session").shift(-1),
        next_opened=pl.col("open").shift(-1),
    )
    at_next_open = pl.col("ts") == pl.col("next_opened")
    micros = pl.col("ts").dt.timestamp("us")
    since_open = micros - pl.when(at_next_open).then("next_opened").otherwise("opened").dt.timestamp("us")
    return (
        stray.sort("ts")
        .join_asof(owners, left_on="ts", right_on="closed", strategy="forward")
        .with_columns(
            session=pl.coalesce(pl.when(at_next_open).then("next_owner"), "owner", pl.col("ts").dt.date()),
            on_grid=(micros % _DAY_US % length_us == 0) | (since_open % length_us == 0).fill_null(value=False),
        )
    )


def _undated(stray: pl.DataFrame, receipts: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    """Rows without a ts: of the first session on or after the first that their receipt speaks for."""
    spoken = receipts.select("sequence", "first_session").sort("first_session")
    sessions = closes.select("session", first_session="session")
    owners = spoken.join_asof(sessions, on="first_session", strategy="forward").select("sequence", "session")
    return stray.join(owners, on="sequence", how="left", maintain_order="left")


def _with_receipts(rows: pl.DataFrame, receipts: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    """Rows with `received_at` and `alone` (their receipt spans a single session), sorted by ts, sequence and line."""
    sessions = closes["session"]
    until = sessions.search_sorted(receipts["last_session"], side="right")
    spans = until - sessions.search_sorted(receipts["first_session"], side="left")
    spoken = receipts.select("sequence", "received_at", alone=spans.cast(pl.Int64) <= 1)
    return rows.join(spoken, on="sequence", how="left", maintain_order="left").sort("ts", "sequence", "line")


def _with_duplicates(rows: pl.DataFrame, *, on_conflict: Literal["refuse", "keep_last"]) -> pl.DataFrame:
    """Rows with `conflicting superseded identical kept`, told from the rows of their receipt with the same ts."""
    same_ts = ["sequence", "ts"]
    again = pl.all_horizontal(pl.col(column) == pl.col(column).shift(1) for column in same_ts).fill_null(value=False)
    doubled = rows.select(again | again.shift(-1, fill_value=False)).to_series()
    none = pl.lit(value=False)
    flags = {"conflicting": none, "superseded": none, "identical": none, "kept": pl.lit(value=True)}
    if not doubled.any():
        return rows.with_columns(**flags)
    last = [pl.col(column).last().over(same_ts) for column in COLUMNS]  # the rows are sorted by line
    differs = pl.any_horizontal(pl.col(column).ne_missing(end) for column, end in zip(COLUMNS, last, strict=True))
    several = rows.filter(doubled).with_columns(differs=differs)
    line = pl.col("line")
    if on_conflict == "keep_last":
        is_last = line == line.max().over(same_ts)
        told = {"superseded": pl.col("differs"), "identical": ~pl.col("differs") & ~is_last, "kept": is_last}
    else:
        conflicting, is_first = pl.col("differs").any().over(same_ts), line == line.min().over(same_ts)
        told = {"conflicting": conflicting, "identical": ~conflicting & ~is_first, "kept": is_first}
    several = several.with_columns(**(flags | told)).drop("differs")
    return pl.concat([rows.filter(~doubled).with_columns(**flags), several]).sort("ts", "sequence", "line")


def _quarantined(refused: pl.DataFrame) -> pl.DataFrame:
    broken = [pl.when(rule.fill_null(value=False)).then(pl.lit(name)) for name, rule in ROW_RULES.items()]
    return refused.with_columns(rules=pl.concat_list(broken).list.drop_nulls())


def _counts(rows: pl.DataFrame, quarantined: pl.DataFrame, chosen: Succession) -> pl.DataFrame:
    """Each session's rows as they were brought last, and how late its bars were first received."""
    refused, outside = pl.col("refused"), pl.col("rules") == ["off_session"]
    counted = rows.filter("counted")
    counts = counted.group_by("session").agg(
        received=pl.len(),
        refused=refused.sum(),
        null_rows=(refused & ROW_RULES["null_ohlc"]).sum(),
        conflicting=pl.col("conflicting").sum(),
        identical=pl.col("identical").sum(),
    )
    strays = quarantined.filter("counted").group_by("session").agg(outside_hours=outside.sum())
    counts = rows.select("session").unique().join(counts, on="session", how="left").sort("session")
    for part in (strays, _disordered(counted), _lateness(chosen.first)):
        counts = counts.join(part, on="session", how="left", maintain_order="left")
    numbers = ["received", "refused", "null_rows", "conflicting", "identical", "outside_hours", "disordered", "n_timed"]
    filled = [pl.col(name).fill_null(0).cast(pl.Int64) for name in numbers]
    return counts.select("session", *filled, "lateness_minutes")


def _counted(rows: pl.DataFrame, receipts: pl.DataFrame) -> pl.Series:
    """`counted`: whether a row is what was brought last of its ts; `rows` are sorted by ts."""
    newest = _speaking(rows, receipts)
    counted = rows.join(newest, on="session", how="left", maintain_order="left", suffix="_newest").select(
        counted=pl.col("sequence") == pl.col("sequence_newest")
    )["counted"]
    if receipts["whole"].all():
        return counted
    asked = rows.select("session", "sequence").join(receipts, on="sequence", how="left", maintain_order="left")
    speaks = asked["session"].is_between(asked["first_session"], asked["last_session"])
    return counted | (speaks & rows["ts"].is_not_null() & (rows["sequence"] >= _newest_covering(rows, receipts)))


def _newest_covering(rows: pl.DataFrame, receipts: pl.DataFrame) -> pl.Series:
    """By row the newest receipt that covers its ts, 0 where none does."""
    pulled = receipts.filter("whole")
    sessions = _speaking(rows, pulled, otherwise=0)
    newest = rows.join(sessions, on="session", how="left", maintain_order="left", suffix="_newest")["sequence_newest"]
    covering = newest.to_numpy().copy()
    undated = rows["ts"].null_count()
    stamps, owners = rows["ts"][undated:], rows["session"].to_numpy()
    files = receipts.filter(~pl.col("whole"), pl.col("first").is_not_null()).sort("sequence")
    starts = stamps.search_sorted(files["first"], side="left") + undated
    ends = stamps.search_sorted(files["last"], side="right") + undated
    for sequence, start, end, *spoken in zip(
        files["sequence"],
        starts,
        ends,
        files["first_session"].to_numpy(),
        files["last_session"].to_numpy(),
        strict=True,
    ):
        here = slice(start, end)
        speaks = (owners[here] >= spoken[0]) & (owners[here] <= spoken[1])
        covering[here] = np.where(speaks, np.maximum(covering[here], sequence), covering[here])
    return pl.Series(covering)


def _speaking(rows: pl.DataFrame, receipts: pl.DataFrame, *, otherwise: int | None = None) -> pl.DataFrame:
    """`session sequence` of the newest receipt that speaks for each session of `rows`.

    Where none does, `otherwise`; without it the newest that has rows.
    """
    of_rows = pl.col("sequence").max() if otherwise is None else pl.lit(otherwise, pl.Int64).alias("sequence")
    with_rows = rows.group_by("session").agg(of_rows).sort("session")
    sessions, newest = with_rows["session"], with_rows["sequence"].to_numpy().copy()
    spoken = receipts.sort("sequence")
    starts = sessions.search_sorted(spoken["first_session"], side="left")
    ends = sessions.search_sorted(spoken["last_session"], side="right")
    for sequence, start, end in zip(spoken["sequence"], starts, ends, strict=True):
        newest[start:end] = sequence
    return with_rows.with_columns(sequence=pl.Series(newest))


def _disordered(spoken: pl.DataFrame) -> pl.DataFrame:
    """`session disordered`: rows that came before one of their receipt with an earlier ts; `spoken` are sorted by ts."""
    of_receipt = ["session", "sequence"]
    before = (pl.col("line") < pl.col("line").shift(1).over(of_receipt)) & pl.col("ts").is_not_null()
    sessions = spoken.filter(before).select(of_receipt)
    if sessions.is_empty():
        return sessions.select("session", disordered=pl.lit(0))
    earliest_after = pl.col("ts").cum_min(reverse=True).over(of_receipt)
    return (
        spoken.lazy()
        .join(sessions.lazy(), on=of_receipt, how="semi")
        .drop_nulls("ts")
        .sort("session", "sequence", "line")
        .filter(pl.col("ts") > earliest_after)
        .group_by("session")
        .agg(disordered=pl.len())
        .collect()
    )


def _lateness(first: pl.DataFrame) -> pl.DataFrame:
    """`session n_timed lateness_minutes` of bars by the first good row of each, where its receipt spans one session."""
    late = (pl.col("received_at") - pl.col("known_at")).dt.total_microseconds() / 60e6
    return first.filter("alone").group_by("session").agg(n_timed=pl.len(), lateness_minutes=late.max())
