"""What is wrong with a file of bars, in numbers: every count of `gauntlet check`, without taking anything in.

In this order:

1. rows are counted as they stand in the file: unreadable stamps, prices that break a rule, rows that
   came before an earlier stamp, rows that repeat the one before;
2. of the stamps that occur more than once, rows beyond the first are counted, identical or conflicting;
3. the distinct stamps are held against the bars due from the first of them to the last: present,
   missing, the longest gap, off the grid, off session;
4. sessions are held against the SLA: completeness alone, or all rules of a section of a policy as a
   night would judge them.

Rows have the columns of a delivery: `line ts open high low close volume`, in file order, null where
nothing could be read. A row with a null, NaN or infinite price counts in `null_ohlc` and in no other
price rule. Stamps are the opens of bars, UTC; a daily bar's is its session's date.
"""

from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import COLUMNS, PRICES, timeframe_us
from quality import sla
from quality.bars import ROW_RULES, filled_bars, judge
from quality.policies import ServiceLevel

COMPLETENESS = 0.99  # of a session, where no policy says otherwise
_COUNTED = ("null_ohlc", "non_positive_price", "high_below_body", "low_above_body", "negative_volume")
_LONG_AFTER = datetime(2200, 1, 1, tzinfo=UTC)  # a file says nothing about when it came, so no bar of it is unclosed

Stamps = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Survey(NamedTuple):
    """The counts of one series, by the names and in the order of the contract."""

    rows: int
    first: datetime | None  # of the readable stamps; None where there is none
    last: datetime | None
    expected: int | None  # None where there is no calendar
    present: int | None
    missing: int | None
    completeness: float | None  # None also where nothing was due
    duplicates_identical: int
    duplicates_conflicting: int
    out_of_order: int
    off_grid: int
    off_session: int
    unparsable_ts: int
    null_ohlc: int
    non_positive_price: int
    high_below_body: int
    low_above_body: int
    negative_volume: int
    zero_volume: int
    stale_run_max: int
    max_gap_bars: int
    sessions: int
    sessions_below_sla: int
    passed: bool


class _Held(NamedTuple):
    """Distinct stamps against what is due."""

    expected: int | None = None
    present: int | None = None
    missing: int | None = None
    completeness: float | None = None
    off_grid: int = 0
    off_session: int = 0
    max_gap_bars: int = 0
    sessions: int = 0
    sessions_below_sla: int = 0


def survey(
    rows: pl.DataFrame, due: pl.DataFrame | None, *, timeframe: str, completeness: float = COMPLETENESS
) -> Survey:
    """Count everything that is wrong with one series.

    Args:
        rows: `line ts open high low close volume`, as received.
        due: `session ts known_at` of every bar that should exist, sorted, over all sessions from the first readable
            stamp to the last (what lies before and after them is not asked for); None: there is no calendar.
        timeframe: length of the bars.
        completeness: the share of its due bars that a session must have.
    """
    counts = rows.select(
        *(ROW_RULES[rule].fill_null(value=False).sum().alias(rule) for rule in _COUNTED),
        zero_volume=(pl.col("volume") == 0).sum(),
        unparsable_ts=pl.col("ts").null_count(),
    ).row(0, named=True)
    in_file_order = microseconds(rows["ts"].drop_nulls())
    stamps = _sorted_once(in_file_order)
    identical, conflicting = _duplicates(rows) if stamps.size < in_file_order.size else (0, 0)
    held = _held(stamps, due, length=timeframe_us(timeframe), completeness=completeness)
    broken = [*(counts[rule] for rule in _COUNTED), counts["unparsable_ts"], conflicting, held.off_grid]
    return Survey(
        rows=rows.height,
        first=rows["ts"].min(),  # type: ignore[arg-type]  # polars' min is of any type
        last=rows["ts"].max(),  # type: ignore[arg-type]
        duplicates_identical=identical,
        duplicates_conflicting=conflicting,
        out_of_order=_out_of_order(in_file_order),
        stale_run_max=_longest_run(_repeats(rows)),
        passed=not any(broken) and held.sessions_below_sla == 0,
        **counts,
        **held._asdict(),
    )


def failing_sessions(
    rows: pl.DataFrame, due: pl.DataFrame, closes: pl.DataFrame, *, timeframe: str, level: ServiceLevel
) -> int:
    """How many sessions break an enforced rule, judged as a night judges them: as one receipt that holds all rows.

    Args:
        rows, due, timeframe: as for `survey`; `due` cut to what lies between the first stamp and the last.
        closes: `session open close` of these sessions and one more at each end, as `quality.bars.judge` takes them.
        level: the section of the policy. Its `lateness` is left out: a file says nothing about when it came.
    """
    sessions: list[date] = due["session"].unique(maintain_order=True).to_list()
    if not sessions:
        return 0
    receipt = {
        "sequence": [1],
        "received_at": [_LONG_AFTER],
        "first_session": sessions[:1],
        "last_session": sessions[-1:],
    }
    judged = judge(
        rows.with_columns(sequence=pl.lit(1, pl.Int64)),
        pl.DataFrame(receipt).with_columns(pl.col("received_at").dt.cast_time_unit("us")),
        due,
        closes,
        first=sessions[0],
        last=sessions[-1],
        timeframe=timeframe,
        max_range_ratio=level.max_range_ratio,
    )
    accepted = judged.accepted
    filled = filled_bars(accepted, due, accepted.clear()) if level.no_trade_bars == "filled" else None
    counts = sla.count_sessions(sessions, due, judged, filled=filled, outside_hours=level.outside_hours)
    limits = {rule: limit for rule, limit in level.limits.items() if rule != "lateness"}
    record = sla.verdicts(counts.with_columns(instrument=pl.lit("")), limits)
    return int(sla.failed_sessions(record)["failed"].sum())


def fitting(rows: pl.DataFrame, *grids: pl.DataFrame) -> pl.DataFrame:
    """Of several tables of due bars, the one that most of the stamps are on; the first of equals."""
    stamps = distinct(rows)
    return max(grids, key=lambda due: int(among(stamps, microseconds(due["ts"])).sum()))


def between(due: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    """The bars due from one stamp to another, both included; `due` is sorted."""
    begin = due["ts"].search_sorted(first)
    return due[begin : due["ts"].search_sorted(last, side="right")]


def distinct(rows: pl.DataFrame) -> Stamps:
    """The readable stamps of rows, sorted, each once."""
    return _sorted_once(microseconds(rows["ts"].drop_nulls()))


def among(some: Stamps, others: Stamps) -> Flags:
    """Which of `some` occur in `others`; both sorted and distinct."""
    if not others.size:
        return np.zeros(some.size, dtype=bool)
    at = np.searchsorted(others, some)
    flags: Flags = others[np.minimum(at, others.size - 1)] == some
    return flags


def microseconds(moments: pl.Series) -> Stamps:
    """Moments without a null, as counts since 1970."""
    return moments.dt.timestamp("us").to_numpy().astype(np.int64)


def shares(sessions: pl.Series, there: Flags) -> NDArray[np.float64]:
    """Of each session's due bars, the share that is there."""
    if sessions.is_empty():
        return np.empty(0)
    lengths = sessions.rle().struct.field("len").to_numpy().astype(np.int64)
    starts = np.append(0, lengths.cumsum()[:-1])
    present: NDArray[np.float64] = np.add.reduceat(there.astype(np.int64), starts) / lengths
    return present


def _held(stamps: Stamps, due: pl.DataFrame | None, *, length: int, completeness: float) -> _Held:
    if due is None:
        return _Held()
    if stamps.size:
        wanted = microseconds(due["ts"])
        span = slice(*np.searchsorted(wanted, [stamps[0], stamps[-1] + 1]).tolist())
        grid, wanted, due = wanted % length, wanted[span], due[span]
    else:
        grid, wanted, due = stamps, stamps, due[:0]
    there = among(wanted, stamps)
    stray = stamps[~among(stamps, wanted)] % length
    off_grid = int((~np.isin(stray, np.append(grid, 0))).sum()) if stray.size else 0
    held = shares(due["session"], there)
    return _Held(
        expected=wanted.size,
        present=int(there.sum()),
        missing=int((~there).sum()),
        completeness=float(there.mean()) if wanted.size else None,
        off_grid=off_grid,
        off_session=stray.size - off_grid,
        max_gap_bars=_longest_run(~there),
        sessions=held.size,
        sessions_below_sla=int((held < completeness).sum()),
    )


def _duplicates(rows: pl.DataFrame) -> tuple[int, int]:
    """Rows beyond the first of one stamp: those that equal an earlier row of it, and the others."""
    several = rows.filter(pl.col("ts").is_not_null() & pl.col("ts").is_duplicated())
    beyond = ~several["ts"].is_first_distinct()
    identical = ~several.select("ts", *COLUMNS).select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return int(identical.sum()), int((beyond & ~identical).sum())


def _repeats(rows: pl.DataFrame) -> Flags:
    """Whether a row has the four prices of the row before it in the file; a null equals nothing."""
    same = pl.all_horizontal(pl.col(price) == pl.col(price).shift(1) for price in PRICES)
    flags: Flags = rows.select(same.fill_null(value=False)).to_series().to_numpy()
    return flags


def _out_of_order(stamps: Stamps) -> int:
    newest = np.maximum.accumulate(stamps) if stamps.size else stamps
    return int((stamps < newest).sum())


def _longest_run(flags: Flags) -> int:
    breaks = np.flatnonzero(~np.concatenate([[False], flags, [False]]))
    return int(np.diff(breaks).max()) - 1


def _sorted_once(stamps: Stamps) -> Stamps:
    """Most files already are sorted, and comparing neighbours is ten times as fast as sorting them."""
    return stamps if (np.diff(stamps) > 0).all() else np.unique(stamps)
