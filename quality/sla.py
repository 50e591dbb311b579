"""What a data set must deliver: limits per instrument and session.

Each rule is a number per instrument and session, held against a limit of `policies/sla.yaml`.
Sessions in which nothing is due pass. A rule that only warns, or is not enforced yet on that
session, is recorded all the same.

An enforced verdict acts after it is known, never inside the session it judges: an instrument is
embargoed in the sessions after a failed one, until a later one passes.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from quality.bars import Judged
from quality.policies import Limit

VALUES: dict[str, pl.Expr] = {
    "completeness": pl.col("accepted") / pl.col("due"),
    "nan": pl.col("null_rows").cast(pl.Float64),
    "duplicates": pl.col("conflicting").cast(pl.Float64),
    "quarantined": pl.when(pl.col("received") > 0).then(pl.col("refused") / pl.col("received")).otherwise(0.0),
}
"""What each rule measures, of one instrument's session."""

_SEEN = {"completeness": "accepted", "nan": "null_rows", "duplicates": "conflicting", "quarantined": "refused"}


class Block(NamedTuple):
    """Whether the newest session stops what comes after it, and because of whom."""

    session: date | None
    failed: tuple[str, ...]
    n_instruments: int
    blocked: bool


def count_sessions(sessions: Sequence[date], due: pl.DataFrame, judged: Judged) -> pl.DataFrame:
    """What `verdicts` needs of one instrument: a row per session, all counts, zero where nothing came or was due."""
    return (
        pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date})
        .join(due.group_by("session").agg(due=pl.len()), on="session", how="left")
        .join(judged.accepted.group_by("session").agg(accepted=pl.len()), on="session", how="left")
        .join(judged.counts, on="session", how="left")
        .with_columns(pl.exclude("session").fill_null(0).cast(pl.Int64))
        .sort("session")
    )


def verdicts(sessions: pl.DataFrame, limits: Mapping[str, Limit]) -> pl.DataFrame:
    """One row per rule: `session instrument rule value limit due seen passed enforced`.

    Args:
        sessions: one row per instrument and session: `session instrument due accepted received refused null_rows
            conflicting`, all counts.
        limits: by rule name, as in `policies/sla.yaml`.
    """
    judged = []
    for rule, limit in limits.items():
        value = pl.when(pl.col("due") > 0).then(VALUES[rule])
        bound = limit.at_least if limit.at_least is not None else limit.at_most
        kept = value >= bound if limit.at_least is not None else value <= bound
        judged.append(
            sessions.select(
                "session",
                "instrument",
                rule=pl.lit(rule),
                value=value,
                limit=pl.lit(bound, dtype=pl.Float64),
                due=pl.col("due").cast(pl.Int64),
                seen=pl.col(_SEEN[rule]).cast(pl.Int64),
                passed=kept.fill_null(value=True),
                enforced=_enforced(limit),
            )
        )
    return pl.concat(judged).sort("session", "instrument", "rule")


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
