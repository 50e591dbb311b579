"""What a data set must deliver: limits per instrument and session.

In this order:

1. an instrument's sessions are counted: what was due, what was accepted (of all receipts), what was
   brought last (of every moment the rows of the newest receipt that covers it), and how its bars
   follow each other. The first bar of a session follows the last one accepted before it, so a
   session's verdicts depend on its own rows and on that one bar;
2. each rule takes one number of that and holds it against a limit of `policies/sla.yaml`. Sessions
   in which nothing is due pass, and so does what could not be measured. A rule that only warns, or
   is not enforced yet on that session, is recorded all the same.

An enforced verdict acts after it is known, never inside the session it judges: an instrument is
embargoed in the sessions after a failed one, until a later one passes.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from math import log
from typing import Literal, NamedTuple

import polars as pl

from engine.bars import COLUMNS, PRICES, forward_adjusted
from quality import splits
from quality.bars import Judged
from quality.policies import Limit

_SPLIT_NOISE = 0.05  # of the log price: what an instrument may move by itself overnight and still look split
_LINKS = ("session", "ts", *COLUMNS)


class Rule(NamedTuple):
    """How a rule is measured on an instrument's counted session."""

    value: pl.Expr  # what is held against the limit, null where it could not be measured
    seen: pl.Expr | None  # the count behind it; None: whether the limit was broken


def _share(part: str, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole)).otherwise(0.0)


RULES: dict[str, Rule] = {
    "completeness": Rule(_share("accepted", "due"), pl.col("accepted")),
    "nan": Rule(pl.col("null_rows"), pl.col("null_rows")),
    "duplicates": Rule(pl.col("conflicting"), pl.col("conflicting") + pl.col("identical")),
    "quarantined": Rule(_share("refused", "received"), pl.col("refused")),
    "lateness": Rule(pl.col("lateness_minutes"), pl.col("n_timed")),
    "stale_run": Rule(pl.col("stale_bars"), pl.col("stale_bars")),
    "jump": Rule(pl.col("largest_return"), None),
    "disorder": Rule(pl.col("disordered"), pl.col("disordered")),
    "filled": Rule(_share("filled", "due"), pl.col("filled")),
}
"""By name. `duplicates` sees identical rows beside the conflicting ones, which alone are held against its limit."""


class Block(NamedTuple):
    """Whether the newest session stops what comes after it, and because of whom."""

    session: date | None
    failed: tuple[str, ...]
    n_instruments: int
    blocked: bool


class _Links(NamedTuple):
    """How the bars of sessions follow each other; both by session."""

    stale: pl.DataFrame  # session stale_bars
    returns: pl.DataFrame  # session largest_return


def count_sessions(
    sessions: Sequence[date],
    due: pl.DataFrame,
    judged: Judged,
    *,
    before: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    filled: pl.DataFrame | None = None,
    volume: Literal["traded", "ticks", "none"] = "traded",
    outside_hours: Literal["refused", "expected"] = "refused",
) -> pl.DataFrame:
    """What `verdicts` needs of one instrument: a row per session, counts zero where nothing came or was due.

    Args:
        sessions: of the range that was judged.
        due: every bar that should exist in it: `session ts known_at`.
        judged: what `quality.bars.judge` made of it.
        before: bars accepted before the range, `session ts open high low close volume`, sorted; the last is enough.
        actions: the instrument's known corporate actions: `ex_date kind value`.
        filled: the bars that were filled because nothing traded; they count nowhere else.
        volume: what the data set's volume is. Bars that repeat the one before them are stale if nothing traded;
            where volume is not what traded, whatever the volume.
        outside_hours: whether rows that break `off_session` alone are counted. A source that sends what trades before
            and after its sessions is expected to; such rows are neither received nor refused then.

    Returns:
        `session due accepted filled received refused null_rows conflicting identical outside_hours disordered n_timed
        lateness_minutes stale_bars largest_return`. Lateness and return are null where there is nothing to measure.
    """
    links = _links(judged.accepted, before, actions, traded=volume == "traded")
    counted = pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date})
    parts = [
        due.group_by("session").agg(due=pl.len()),
        judged.accepted.group_by("session").agg(accepted=pl.len()),
        (judged.accepted.clear() if filled is None else filled).group_by("session").agg(filled=pl.len()),
        judged.counts,
        links.stale,
        links.returns,
    ]
    for part in parts:
        counted = counted.join(part, on="session", how="left")
    measured = ("lateness_minutes", "largest_return")
    counted = counted.with_columns(pl.exclude("session", *measured).fill_null(0).cast(pl.Int64)).sort("session")
    if outside_hours == "refused":
        return counted
    return counted.with_columns(pl.col("received", "refused") - pl.col("outside_hours"))


def verdicts(sessions: pl.DataFrame, limits: Mapping[str, Limit]) -> pl.DataFrame:
    """One row per rule: `session instrument rule value limit due seen passed enforced`.

    Args:
        sessions: one row per instrument and session, as `count_sessions` gives them, with `instrument`.
        limits: by rule name, as in `policies/sla.yaml`.
    """
    judged = []
    for rule, limit in limits.items():
        measure = RULES[rule]
        bound = limit.at_least if limit.at_least is not None else limit.at_most
        value = pl.when(pl.col("due") > 0).then(measure.value).cast(pl.Float64)
        kept = (value >= bound if limit.at_least is not None else value <= bound).fill_null(value=True)
        judged.append(
            sessions.select(
                "session",
                "instrument",
                rule=pl.lit(rule),
                value=value,
                limit=pl.lit(bound, dtype=pl.Float64),
                due=pl.col("due").cast(pl.Int64),
                seen=(~kept if measure.seen is None else measure.seen).cast(pl.Int64),
                passed=kept,
                enforced=_enforced(limit),
            )
        )
    return pl.concat(judged).sort("session", "instrument", "rule")


def jumps(bars: pl.DataFrame, actions: pl.DataFrame, *, limit: float) -> pl.DataFrame:
    """`session ts log_return looks_like` of one instrument's bars that moved by more than `limit` from the one before.

    Args:
        bars: accepted ones, `session ts open high low close volume`, sorted.
        actions: the instrument's known corporate actions, `ex_date kind value`; the prices are carried over them.
        limit: of the absolute log return from close to close.

    `looks_like` says which split would explain the move, null where none does.
    """
    carried = _carried(bars.select(_LINKS), actions)
    moved = carried.with_columns(last_close=pl.col("close").shift(1), log_return=_LOG_RETURN).filter(
        pl.col("log_return").abs() > limit
    )
    # A day's first print may still be at the old price; then the split shows in the close.
    at_old_price = (pl.col("open") / pl.col("last_close")).log().abs() <= _SPLIT_NOISE
    prices = moved.select("last_close", pl.when(at_old_price).then("close").otherwise("open"))
    named = [suspected_split(last_close, next_price) for last_close, next_price in prices.iter_rows()]
    return moved.select("session", "ts", "log_return", pl.Series("looks_like", named, pl.String))


def suspected_split(last_close: float, next_price: float) -> str | None:
    """The split that would explain a move from a close to the next open or close; None where no usual one does.

    >>> suspected_split(645.57, 92.70)
    'looks like a 7:1 split that was not adjusted for'
    >>> suspected_split(1.02, 10.3)
    'looks like a 1:10 split that was not adjusted for'
    """
    terms = splits.nearest(log(next_price / last_close), within=_SPLIT_NOISE)
    return terms and f"looks like a {terms} split that was not adjusted for"


def failed_sessions(record: pl.DataFrame) -> pl.DataFrame:
    """`session instrument failed`: whether an enforced rule was broken; `record` as `verdicts` gives it."""
    return (
        record.group_by("session", "instrument")
        .agg(failed=(pl.col("enforced") & ~pl.col("passed")).any())
        .sort("session", "instrument")
    )


def block(record: pl.DataFrame, *, block_share: float) -> Block:
    """Does the newest session stop the data set? It does when more than `block_share` of its instruments failed."""
    if record.is_empty():
        return Block(None, (), 0, blocked=False)
    newest = failed_sessions(record.filter(pl.col("session") == pl.col("session").max()))
    failed = tuple(newest.filter("failed")["instrument"])
    return Block(newest["session"][0], failed, newest.height, blocked=len(failed) > block_share * newest.height)


def embargo(record: pl.DataFrame) -> pl.DataFrame:
    """`session instrument embargoed`: no new decisions in this session, because the last judged one before it failed."""
    return (
        failed_sessions(record)
        .sort("instrument", "session")
        .with_columns(embargoed=pl.col("failed").shift(1).over("instrument").fill_null(value=False))
        .select("session", "instrument", "embargoed")
    )


def _enforced(limit: Limit) -> pl.Expr:
    if limit.severity != "enforce":
        return pl.lit(value=False)
    return pl.lit(value=True) if limit.from_ is None else pl.col("session") >= limit.from_


_LOG_RETURN = (pl.col("close") / pl.col("close").shift(1)).log()


def _links(
    accepted: pl.DataFrame, before: pl.DataFrame | None, actions: pl.DataFrame | None, *, traded: bool
) -> _Links:
    chain = accepted.select(_LINKS)
    if before is not None:
        chain = before.select(_LINKS).tail(1).vstack(chain)
    own = slice(chain.height - accepted.height, None)
    carried = chain if actions is None else _carried(chain, actions)
    returns = carried.select("session", largest_return=_LOG_RETURN.abs())[own]
    repeats = pl.all_horizontal(pl.col(price) == pl.col(price).shift(1) for price in PRICES)
    if traded:
        repeats &= pl.col("volume") == 0
    stale = chain.select("session", stale=repeats.fill_null(value=False))[own]
    return _Links(_longest_runs(stale), returns.group_by("session").agg(pl.col("largest_return").max()))


def _carried(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Bars with prices carried over the corporate actions between them."""
    if bars.is_empty():
        return bars
    here = actions.filter(pl.col("ex_date") > bars["session"][0], pl.col("ex_date") <= bars["session"][-1])
    return bars if here.is_empty() else forward_adjusted(bars, here)


def _longest_runs(stale: pl.DataFrame) -> pl.DataFrame:
    """`session stale_bars`: the longest run of stale bars in each session that has one."""
    return (
        stale.with_columns(run=pl.col("stale").rle_id())
        .filter("stale")
        .group_by("session", "run")
        .agg(stale_bars=pl.len())
        .group_by("session")
        .agg(pl.col("stale_bars").max())
    )
