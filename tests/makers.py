"""Makers shared by tests: received rows and due bars for the judge, histories and plans for research.

All of them are small and valid; a test says what it changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from engine.bars import COLUMNS, forward_adjusted
from engine.history import History
from engine.strategy import Signals, Strategy
from quality import tables
from quality.policies import ServiceLevel

DAY = timedelta(days=1)
START = datetime(2024, 3, 4, tzinfo=UTC)
SESSION = START.date()
GOOD = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}
BUY, SELL, SHORT, COVER = 1.0, 2.0, 3.0, 4.0

_RECEIVED = {
    "sequence": pl.Int64,
    "line": pl.Int64,
    "ts": tables.TS,
    **tables.OHLCV,
    "received_at": tables.TS,
    "first_session": pl.Date,
}
_DUE = {"session": pl.Date, "ts": tables.TS, "known_at": tables.TS}
_ACTIONS = {"instrument": pl.String, "ex_date": pl.Date, "kind": pl.String, "value": pl.Float64}
_EMBARGO = {"session": pl.Date, "instrument": pl.String, "embargoed": pl.Boolean}


# What is held against the rules


def due_bars(n: int, *, start: datetime = START, step: timedelta = timedelta(minutes=5)) -> pl.DataFrame:
    """`n` due bars in a row, each in the session of its UTC date."""
    stamps = [start + i * step for i in range(n)]
    return pl.DataFrame([(ts.date(), ts, ts + step) for ts in stamps], _DUE, orient="row")


def received(*rows: Mapping[str, Any]) -> pl.DataFrame:
    """Rows as the judge takes them: good ones of the first receipt, a week late, except for what each row says."""
    usual = {"sequence": 1, "ts": START, **GOOD, "received_at": START + 7 * DAY, "first_session": SESSION}
    return pl.DataFrame([{"line": line, **usual, **row} for line, row in enumerate(rows)], _RECEIVED)


def receipts_of(raw: pl.DataFrame) -> pl.DataFrame:
    """The receipts behind `received` rows: each speaks for its own session alone."""
    said = raw.group_by("sequence").agg(pl.col("received_at", "first_session").first()).sort("sequence")
    return said.with_columns(last_session="first_session")


def closes_of(due: pl.DataFrame) -> pl.DataFrame:
    """When the sessions of `due` open and close, and one like them a day before and after."""
    hours = due.group_by("session").agg(open=pl.col("ts").min(), close=pl.col("known_at").max()).sort("session")
    before, after = hours.head(1), hours.tail(1)
    return pl.concat(
        [
            before.with_columns(pl.col("session", "open", "close") - DAY),
            hours,
            after.with_columns(pl.col("session", "open", "close") + DAY),
        ]
    )


def service_level(**changes: Any) -> ServiceLevel:
    """The usual limits, all enforced."""
    usual = {
        "completeness": {"at_least": 0.99},
        "nan": {"at_most": 0},
        "duplicates": {"at_most": 0},
        "quarantined": {"at_most": 0.01},
    }
    rules = {
        name: {"severity": "enforce", "why": "a test", **limit, **changes.pop(name, {})}
        for name, limit in usual.items()
    }
    return ServiceLevel.model_validate({"block_share": 0.5, **rules, **changes})


# What research runs on


class Scripted(Strategy):
    """Does what the feature `said` of each bar tells it to; `offset` tells the scripts of parameter sets apart."""

    offset: float = 0.0

    def signals(self, bars):
        said = bars.feature("said") - self.offset
        return Signals(enter=said == BUY, exit=said == SELL, enter_short=said == SHORT, exit_short=said == COVER)


def flat_bars(
    closes: Sequence[float | None], *, said: Mapping[int, float] | None = None, step: timedelta = DAY
) -> pl.DataFrame:
    """Raw bars that do not move inside (open, high, low and close are one price), none where the price is None.

    `said` scripts decisions by the place in `closes`.
    """
    rows = [
        (
            (START + i * step).date(),
            START + i * step,
            START + (i + 1) * step,
            *(price,) * 4,
            1.0,
            (said or {}).get(i, 0),
        )
        for i, price in enumerate(closes)
        if price is not None
    ]
    return pl.DataFrame(rows, {**_DUE, **dict.fromkeys((*COLUMNS, "said"), pl.Float64)}, orient="row")


def history_of(
    bars: Mapping[str, pl.DataFrame],
    *,
    actions: Iterable[tuple[str, date, str, float]] = (),
    embargoed: Iterable[tuple[date, str]] = (),
    timeframe: str = "1d",
    due: pl.DataFrame | None = None,
    finer: Mapping[str, pl.DataFrame] | None = None,
) -> History:
    """A history of `flat_bars` by instrument, with the sessions from the first to the last of them.

    `due` are bars from the first to the last of those that are there, a step of theirs apart, unless given.
    """
    stated = pl.DataFrame(list(actions), _ACTIONS, orient="row")
    frames = {
        name: {timeframe: forward_adjusted(raw, stated.filter(pl.col("instrument") == name))}
        for name, raw in bars.items()
    }
    sessions = pl.concat([raw["session"] for raw in bars.values()])
    return History(
        sessions=pl.date_range(sessions.min(), sessions.max(), eager=True).to_list(),
        raw={name: raw.drop("said") for name, raw in bars.items()},
        frames=frames,
        actions=stated,
        embargo=pl.DataFrame([(*one, True) for one in embargoed], _EMBARGO, orient="row"),
        due=_due_between(bars.values()) if due is None else due,
        finer=finer or {},
        features=("said",),
    )


def _due_between(bars: Iterable[pl.DataFrame]) -> pl.DataFrame:
    there = pl.concat([raw.select(*_DUE) for raw in bars]).unique("ts").sort("ts")
    step = there["known_at"][0] - there["ts"][0]
    return due_bars((there["ts"][-1] - there["ts"][0]) // step + 1, start=there["ts"][0], step=step)


def plan_of(*instruments: str, timeframe: str = "1d", plan: Mapping[str, Any] | None = None, **rules: Any) -> Any:
    """A plan without costs that buys one unit out of a cash of 1,000; `plan` changes it, the rest its rules."""
    from engine.backtest import Plan  # with the simulator behind it, which takes a second to import
    from engine.costs import FeePeriod, FeeTier
    from engine.simulator.inputs import Instrument, Rules, Size

    usual = {"cash": 1_000.0, "size": Size("units", 1), "fees": (FeePeriod(0, (FeeTier(0, 0, 0),)),)}
    traded = tuple(Instrument(name, tick=0.01, lot=1, min_notional=0, half_spread_bps=0) for name in instruments)
    return Plan(timeframe, traded, Rules(**{**usual, **rules}), **(plan or {}))
