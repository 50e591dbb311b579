"""What a bar must be: row rules by name, and which of all received rows is the accepted one.

For one instrument and one range of sessions, in this order:

1. every received row is given its session: that of the due bar at its ts, else the UTC date of
   its ts, else (no readable ts) the first session its receipt was asked for;
2. every row is held against every rule; a row that breaks any is quarantined with all of them;
3. identical duplicates within a receipt are counted and one is kept; conflicting ones are all
   refused, unless the data set keeps the last: then those before it break no rule;
4. of what is left, the newest receipt's row is the accepted bar, except where it equals an older
   one within float noise: then the older bytes stay.
"""

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from engine.bars import COLUMNS, PRICES, timeframe_us

NOISE = 1e-12  # relative; below it a difference between receipts is float noise, not a restatement
_OHLC = [pl.col(price) for price in PRICES]
_NUMBERS = pl.all_horizontal(price.is_finite().fill_null(value=False) for price in _OHLC)

ROW_RULES: dict[str, Callable[[int], pl.Expr]] = {
    "unparsable_ts": lambda _: pl.col("ts").is_null(),
    "null_ohlc": lambda _: ~_NUMBERS,
    "non_positive_price": lambda _: _NUMBERS & pl.any_horizontal(price <= 0 for price in _OHLC),
    "high_below_body": lambda _: _NUMBERS & (pl.col("high") < pl.max_horizontal("open", "close")),
    "low_above_body": lambda _: _NUMBERS & (pl.col("low") > pl.min_horizontal("open", "close")),
    "negative_volume": lambda _: pl.col("volume") < 0,
    "off_grid": lambda length: pl.col("ts").dt.timestamp("us") % length != 0,
    "off_session": lambda length: (pl.col("ts").dt.timestamp("us") % length == 0) & pl.col("known_at").is_null(),
    "unclosed_bar": lambda _: pl.col("received_at") < pl.col("known_at"),
    "conflicting_duplicate": lambda _: pl.col("conflicting"),
}


class Judged(NamedTuple):
    """What became of one instrument's received rows."""

    accepted: pl.DataFrame  # session ts open high low close volume sequence: one row a ts, sorted
    quarantined: pl.DataFrame  # session sequence line ts open high low close volume rules
    counts: pl.DataFrame  # session received refused null_rows conflicting identical: of each session's newest receipt


def judge(
    raw: pl.DataFrame, due: pl.DataFrame, *, timeframe: str, on_conflict: Literal["refuse", "keep_last"] = "refuse"
) -> Judged:
    """Hold received rows against every rule and choose the accepted bars.

    Args:
        raw: one instrument's rows: `sequence line ts open high low close volume received_at first_session`.
        due: every bar that should exist in the range: `session ts known_at`.
        timeframe: length of the bars; its grid starts at midnight UTC.
        on_conflict: what becomes of different rows with one ts in one receipt.

    A row with a null, NaN or infinite price breaks `null_ohlc` and no other price rule. A null volume is allowed.
    """
    length = timeframe_us(timeframe)
    rows = _with_duplicates(_with_sessions(raw, due), on_conflict=on_conflict)
    broken = [pl.when(rule(length).fill_null(value=False)).then(pl.lit(name)) for name, rule in ROW_RULES.items()]
    none = pl.lit([], dtype=pl.List(pl.String))
    rows = rows.with_columns(rules=pl.when("superseded").then(none).otherwise(pl.concat_list(broken).list.drop_nulls()))
    refused = pl.col("rules").list.len() > 0
    good = rows.filter(~refused, pl.col("kept"))
    return Judged(
        accepted=_newest(good.select("session", "ts", *COLUMNS, "sequence")),
        quarantined=rows.filter(refused).select("session", "sequence", "line", "ts", *COLUMNS, "rules"),
        counts=_counts(rows.with_columns(refused=refused)),
    )


def digests(bars: pl.DataFrame) -> pl.DataFrame:
    """`session digest n_bars` of one instrument's accepted bars, sorted by ts.

    A digest is blake2b-256 over the session's rows: ts as int64 µs and the five columns as float64, little-endian;
    -0.0 counts as 0.0, a null volume as NaN.
    """
    values = bars.select(
        pl.col("ts").dt.timestamp("us"), *(pl.col(column).fill_null(float("nan")) for column in COLUMNS)
    )
    packed = np.empty(bars.height, dtype=[("ts", "<i8"), *((column, "<f8") for column in COLUMNS)])
    packed["ts"] = values["ts"].to_numpy()
    for column in COLUMNS:
        packed[column] = values[column].to_numpy() + 0.0
    runs = bars.select(pl.col("session").rle()).unnest("session")
    ends = runs["len"].cum_sum().to_list()
    hashes = [blake2b(packed[a:b].tobytes(), digest_size=32).hexdigest() for a, b in pairwise([0, *ends])]
    return pl.DataFrame(
        {"session": runs["value"], "digest": hashes, "n_bars": runs["len"].cast(pl.Int32)},
        schema={"session": pl.Date, "digest": pl.String, "n_bars": pl.Int32},
    )


def _with_sessions(raw: pl.DataFrame, due: pl.DataFrame) -> pl.DataFrame:
    return raw.join(due, on="ts", how="left", maintain_order="left").with_columns(
        session=pl.coalesce("session", pl.col("ts").dt.date(), "first_session")
    )


def _with_duplicates(rows: pl.DataFrame, *, on_conflict: Literal["refuse", "keep_last"]) -> pl.DataFrame:
    """Mark the row of each receipt and ts that may be kept, and those that contradict another."""
    same_ts = ["sequence", "ts"]
    different = pl.struct(COLUMNS).n_unique().over(same_ts) > 1
    last = pl.col("line") == pl.col("line").max().over(same_ts)
    first = pl.col("line") == pl.col("line").min().over(same_ts)
    dated = pl.col("ts").is_not_null()
    rows = rows.with_columns(different=different & dated)
    if on_conflict == "keep_last":
        rows = rows.with_columns(conflicting=pl.lit(value=False), kept=last | ~dated)
        return rows.with_columns(superseded=pl.col("different") & ~pl.col("kept"))
    return rows.with_columns(conflicting=pl.col("different"), kept=first | ~dated, superseded=pl.lit(value=False))


def _newest(good: pl.DataFrame) -> pl.DataFrame:
    """One row a ts: the newest receipt's, unless it differs from the one before by float noise only."""
    good = good.sort("ts", "sequence")
    once = good.filter(pl.len().over("ts") == 1)
    several = good.filter(pl.len().over("ts") > 1)
    if several.is_empty():
        return once
    kept = several.group_by("ts", maintain_order=True).first().select(good.columns)
    for (sequence,), newer in several.sort("sequence").group_by("sequence", maintain_order=True):
        if sequence == several["sequence"].min():
            continue
        both = kept.join(newer, on="ts", how="left", suffix="_newer", maintain_order="left")
        restated = pl.any_horizontal(_differs(column) for column in COLUMNS) & pl.col("sequence_newer").is_not_null()
        kept = both.select(
            *(
                column if column == "ts" else pl.when(restated).then(f"{column}_newer").otherwise(column).alias(column)
                for column in good.columns
            )
        )
    return pl.concat([once, kept]).sort("ts")


def _differs(column: str) -> pl.Expr:
    old, new = pl.col(column), pl.col(f"{column}_newer")
    close = (new - old).abs() <= NOISE * pl.max_horizontal(old.abs(), new.abs())
    return ~(close | (old.is_null() & new.is_null())).fill_null(value=False)


def _counts(rows: pl.DataFrame) -> pl.DataFrame:
    newest = rows.filter(pl.col("sequence") == pl.col("sequence").max().over("session"))
    return (
        newest.group_by("session")
        .agg(
            received=pl.len().cast(pl.Int64),
            refused=pl.col("refused").sum().cast(pl.Int64),
            null_rows=pl.col("rules").list.contains("null_ohlc").sum().cast(pl.Int64),
            conflicting=pl.col("conflicting").sum().cast(pl.Int64),
            identical=(~pl.col("kept") & ~pl.col("different")).sum().cast(pl.Int64),
        )
        .sort("session")
    )
