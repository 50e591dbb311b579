"""Every table of the lake: its columns, its key, how it is laid out, and the contract a frame must keep to enter it.

Columns and keys are plain data; the pandera schema is made from them when a frame is written,
because importing pandera costs more than reading most tables.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from quality.errors import ContractError

if TYPE_CHECKING:
    import pandera.polars as pa

TS = pl.Datetime("us", "UTC")
MANY_ROWS = 10_000
MONEY = dict.fromkeys(("edge", "fees", "spread", "slippage", "impact", "funding", "borrow", "dividends"), pl.Float64)
SEEN = (
    *("size_amount", "equity_seen", "price_seen", "distance_seen", "heat_seen"),
    *("strength", "confidence"),
)
SAID = {"regime": pl.String, "regime_confidence": pl.Float64, "setup": pl.String, "bias": pl.Float64}
AT_ENTRY = (
    *("strength", "confidence", "volatility_at_entry", "volume_at_entry", "drawdown_at_entry"),
    *("portfolio_heat", "fill_quality", "equity_before", "equity_after", "position_before", "position_after"),
)
COMPONENTS = ("structure", "confluence", "momentum", "volume", "regime")
OHLCV = {"open": pl.Float64, "high": pl.Float64, "low": pl.Float64, "close": pl.Float64, "volume": pl.Float64}


class Table(NamedTuple):
    """Columns in order with their types; `key` columns are never null and together unique."""

    name: str
    about: str
    columns: dict[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]
    nullable: frozenset[str] = frozenset()
    partition_by: tuple[str, ...] = ()
    open_ended: bool = False  # further Float64 columns are allowed: the features of the data sets


def _table(
    name: str,
    about: str,
    columns: dict[str, pl.DataType | type[pl.DataType]],
    *,
    key: str,
    nullable: str = "",
    partition_by: str = "",
    open_ended: bool = False,
) -> Table:
    return Table(
        name, about, columns, tuple(key.split()), frozenset(nullable.split()), tuple(partition_by.split()), open_ended
    )


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "receipts",
            "One delivery of a source: what was asked for, what came, when.",
            {
                "dataset": pl.String,
                "sequence": pl.Int64,
                "instrument": pl.String,
                "content": pl.String,
                "first_session": pl.Date,
                "last_session": pl.Date,
                "first": TS,
                "last": TS,
                "n_rows": pl.Int64,
                "received_at": TS,
                "source": pl.String,
                "origin": pl.String,
            },
            key="dataset sequence",
            nullable="first last",
        ),
        _table(
            "retractions",
            "A receipt that counts for nothing since, and why; append-only.",
            {"dataset": pl.String, "sequence": pl.Int64, "retracted_at": TS, "why": pl.String},
            key="dataset sequence",
        ),
        _table(
            "raw_bars",
            "Rows as received, never changed.",
            {"dataset": pl.String, "instrument": pl.String, "sequence": pl.Int64, "line": pl.Int64, "ts": TS, **OHLCV},
            key="dataset sequence line",
            nullable="ts open high low close volume",
            partition_by="dataset instrument",
        ),
        _table(
            "bars",
            "The accepted bar: of all receipts, the newest row that kept every rule; `filled` where nothing traded.",
            {
                "dataset": pl.String,
                "instrument": pl.String,
                "session": pl.Date,
                "ts": TS,
                **OHLCV,
                "sequence": pl.Int64,
                "filled": pl.Boolean,
            },
            key="dataset instrument ts",
            nullable="volume",
            partition_by="dataset instrument",
        ),
        _table(
            "quarantine",
            "Refused rows, as received, each with every rule it broke.",
            {
                "dataset": pl.String,
                "instrument": pl.String,
                "session": pl.Date,
                "sequence": pl.Int64,
                "line": pl.Int64,
                "ts": TS,
                **OHLCV,
                "rules": pl.List(pl.String),
            },
            key="dataset sequence line",
            nullable="ts open high low close volume",
        ),
        _table(
            "restatements",
            "What a receipt changed, superseded or withdrew of the past: the old values and the new.",
            {
                "dataset": pl.String,
                "instrument": pl.String,
                "session": pl.Date,
                "ts": TS,
                "sequence": pl.Int64,
                "line": pl.Int64,
                "kind": pl.String,
                "received_at": TS,
                **OHLCV,
                **{f"new_{column}": dtype for column, dtype in OHLCV.items()},
            },
            key="dataset instrument ts sequence kind line",
            nullable=f"{' '.join(OHLCV)} {' '.join(f'new_{column}' for column in OHLCV)}",
        ),
        _table(
            "gaps",
            "A run of due bars that are missing, within one session, and of what kind they are.",
            {
                "dataset": pl.String,
                "session": pl.Date,
                "instrument": pl.String,
                "first": TS,
                "last": TS,
                "n_bars": pl.Int64,
                "kind": pl.String,
            },
            key="dataset instrument first",
        ),
        _table(
            "digests",
            "One instrument's session: a content hash of its accepted bars.",
            {
                "dataset": pl.String,
                "session": pl.Date,
                "instrument": pl.String,
                "digest": pl.String,
                "n_bars": pl.Int32,
                "sequence": pl.Int64,
            },
            key="dataset session instrument",
        ),
        _table(
            "sla_record",
            "One verdict: a rule, an instrument, a session.",
            {
                "dataset": pl.String,
                "session": pl.Date,
                "instrument": pl.String,
                "rule": pl.String,
                "value": pl.Float64,
                "limit": pl.Float64,
                "due": pl.Int64,
                "seen": pl.Int64,
                "passed": pl.Boolean,
                "enforced": pl.Boolean,
            },
            key="dataset session instrument rule",
            nullable="value",
        ),
        _table(
            "raw_actions",
            "Corporate actions as received: a statement's rows, or one row without an action where it states none.",
            {
                "dataset": pl.String,
                "sequence": pl.Int64,
                "line": pl.Int64,
                "instrument": pl.String,
                "first": pl.Date,
                "last": pl.Date,
                "ex_date": pl.Date,
                "kind": pl.String,
                "value": pl.Float64,
                "received_at": TS,
                "source": pl.String,
                "origin": pl.String,
            },
            key="dataset sequence line",
            nullable="first last ex_date kind value",
        ),
        _table(
            "corporate_actions",
            "Splits (new units per old one) and dividends (cash per unit), by ex-date.",
            {"dataset": pl.String, "instrument": pl.String, "ex_date": pl.Date, "kind": pl.String, "value": pl.Float64},
            key="dataset instrument ex_date kind",
        ),
        _table(
            "resampled_bars",
            "Bars of the higher timeframes, with how many base bars made them.",
            {
                "dataset": pl.String,
                "instrument": pl.String,
                "timeframe": pl.String,
                "session": pl.Date,
                "ts": TS,
                "known_at": TS,
                **OHLCV,
                "n_base": pl.Int32,
                "n_due": pl.Int32,
                "complete": pl.Boolean,
            },
            key="dataset instrument timeframe ts",
            nullable="volume",
            partition_by="dataset instrument",
        ),
        _table(
            "features",
            "Named causal columns of every bar, null through their lookback.",
            {"dataset": pl.String, "instrument": pl.String, "session": pl.Date, "ts": TS},
            key="dataset instrument ts",
            partition_by="dataset instrument",
            open_ended=True,
        ),
        _table(
            "universe",
            "Who may be traded in a session, from what was known before it, with the reason of every exclusion.",
            {
                "dataset": pl.String,
                "universe": pl.String,
                "session": pl.Date,
                "instrument": pl.String,
                "member": pl.Boolean,
                "reasons": pl.List(pl.String),
                "tier": pl.String,
                "tags": pl.List(pl.String),
                "measured_on": pl.Date,
                "history_sessions": pl.Int64,
                "traded_value": pl.Float64,
                "spread_bps": pl.Float64,
                "completeness": pl.Float64,
            },
            key="dataset universe session instrument",
            nullable="traded_value spread_bps completeness",
        ),
        _table(
            "work_record",
            "What was computed from which inputs: the memory of the planner.",
            {
                "step": pl.String,
                "partition": pl.String,
                "inputs": pl.String,
                "receipt_sequence": pl.Int64,
                "last_session": pl.Date,
                "run_id": pl.String,
                "computed_at": TS,
            },
            key="step partition",
            nullable="receipt_sequence last_session",
        ),
        _table(
            "certificates",
            "Look-ahead certificates: each law, what it was proved on, with which code.",
            {
                "strategy": pl.String,
                "law": pl.String,
                "passed": pl.Boolean,
                "first_bar": pl.Int64,
                "column": pl.String,
                "detail": pl.String,
                "bars_checked": pl.Int64,
                "code": pl.String,
            },
            key="strategy law",
            nullable="first_bar column detail",
        ),
        _table(
            "plans",
            "What a backtest or window ran with: parameters, account, size, exits, guards, costs and instruments.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "document": pl.String,
            },
            key="strategy scope",
            partition_by="strategy",
        ),
        _table(
            "orders",
            "Every order of the backtest and of every walk-forward window, and what sizing and risk saw.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "order": pl.String,
                "decided_on": pl.Int64,
                "decided_ts": TS,
                "closed_on": pl.Int64,
                "instrument": pl.String,
                "side": pl.String,
                "type": pl.String,
                "role": pl.String,
                **dict.fromkeys(("requested", "quantity", "filled", "price", "trigger"), pl.Float64),
                "post_only": pl.Boolean,
                "status": pl.String,
                "reason": pl.String,
                "size_model": pl.String,
                **dict.fromkeys(SEEN, pl.Float64),
                **SAID,
            },
            key="strategy scope order",
            nullable=f"closed_on side requested quantity price trigger reason size_model {' '.join((*SEEN, *SAID))}",
            partition_by="strategy",
        ),
        _table(
            "fills",
            "Executions of the backtest and of every walk-forward window.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "fill": pl.String,
                "order": pl.String,
                "trade": pl.String,
                "bar": pl.Int64,
                "ts": TS,
                "instrument": pl.String,
                "side": pl.String,
                "quantity": pl.Float64,
                "price": pl.Float64,
                "reference": pl.Float64,
                "fee": pl.Float64,
                "spread": pl.Float64,
                "slippage": pl.Float64,
                "impact": pl.Float64,
                "why": pl.String,
                "liquidity": pl.String,
                "ambiguous": pl.Boolean,
            },
            key="strategy scope fill",
            nullable="order",
            partition_by="strategy",
        ),
        _table(
            "trades",
            "Round trips, flat to flat, with their PnL split into its parts.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "trade": pl.String,
                "instrument": pl.String,
                "side": pl.String,
                "entry_order": pl.String,
                "entry_bar": pl.Int64,
                "exit_bar": pl.Int64,
                "hold_bars": pl.Int64,
                "entry_ts": TS,
                "exit_ts": TS,
                "quantity": pl.Float64,
                "entry_price": pl.Float64,
                "exit_price": pl.Float64,
                "exit_reason": pl.String,
                "pnl": pl.Float64,
                "pnl_pct": pl.Float64,
                **MONEY,
                "r": pl.Float64,
                "mae": pl.Float64,
                "mfe": pl.Float64,
                "ambiguous": pl.Boolean,
                "tier": pl.Int64,
                **dict.fromkeys(AT_ENTRY, pl.Float64),
                **SAID,
            },
            key="strategy scope trade",
            nullable=f"r entry_order {' '.join((*AT_ENTRY, *SAID))}",
            partition_by="strategy",
        ),
        _table(
            "open_positions",
            "What was still held at the end, marked there, with its PnL so far split into its parts.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "trade": pl.String,
                "instrument": pl.String,
                "side": pl.String,
                "entry_order": pl.String,
                "entry_bar": pl.Int64,
                "entry_ts": TS,
                "quantity": pl.Float64,
                "entry_price": pl.Float64,
                "mark": pl.Float64,
                "pnl": pl.Float64,
                **MONEY,
                "ambiguous": pl.Boolean,
            },
            key="strategy scope trade",
            nullable="entry_order",
            partition_by="strategy",
        ),
        _table(
            "exchange_metrics",
            "One bar of the simulated exchange: what was ordered, what rested, what became of it.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "bar": pl.Int64,
                "ts": TS,
                **dict.fromkeys(("orders", "resting", "filled", "rejected", "expired", "cancelled"), pl.Int64),
                "reasons": pl.List(pl.String),
                "fill_ratio": pl.Float64,
                "participation": pl.Float64,
            },
            key="strategy scope bar",
            nullable="fill_ratio participation",
            partition_by="strategy",
        ),
        _table(
            "backtest_report",
            "A backtest or window on one of the three paths; costs and size that it bears stand beside the judged path.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "path": pl.String,
                "net_result": pl.Float64,
                "net_return": pl.Float64,
                "n_trades": pl.Int64,
                "ambiguous_share": pl.Float64,
                "entry_bar_exits": pl.Int64,
                "break_even_cost_multiple": pl.Float64,
                "break_even_reason": pl.String,
                "capacity": pl.Float64,
                "capacity_reason": pl.String,
            },
            key="strategy scope path",
            nullable="ambiguous_share break_even_cost_multiple break_even_reason capacity capacity_reason",
            partition_by="strategy",
        ),
        _table(
            "rejections",
            "Orders that were wanted and refused, with the reason.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "order": pl.String,
                "ts": TS,
                "instrument": pl.String,
                "side": pl.String,
                "quantity": pl.Float64,
                "reason": pl.String,
            },
            key="",
            nullable="order side quantity",
            partition_by="strategy",
        ),
        _table(
            "candidates",
            "One setup that held on a bar: its score by component, and every reason why the gate refused it, if it did.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "instrument": pl.String,
                "ts": TS,
                "side": pl.String,
                "setup": pl.String,
                "at_least": pl.Float64,
                "score": pl.Float64,
                **dict.fromkeys(COMPONENTS, pl.Float64),
                "bias": pl.Float64,
                "weights": pl.List(pl.Float64),
                "refused": pl.List(pl.String),
            },
            key="strategy scope instrument ts side setup",
            nullable=" ".join(("score", *COMPONENTS, "bias")),
            partition_by="strategy",
        ),
        _table(
            "equity",
            "The equity curve at session closes, and the return the gated metrics are computed on.",
            {
                "strategy": pl.String,
                "scope": pl.String,
                "session": pl.Date,
                "equity": pl.Float64,
                "return": pl.Float64,
                "drawdown": pl.Float64,
                "gross_exposure": pl.Float64,
            },
            key="strategy scope session",
            partition_by="strategy",
        ),
        _table(
            "windows",
            "Walk-forward windows: what was chosen in-sample, how it did out-of-sample.",
            {
                "strategy": pl.String,
                "window": pl.String,
                "in_sample_first": pl.Date,
                "in_sample_last": pl.Date,
                "oos_first": pl.Date,
                "oos_last": pl.Date,
                "n_sets": pl.Int64,
                "params": pl.String,
                "in_sample_sharpe": pl.Float64,
                "oos_sharpe": pl.Float64,
                "oos_net_return": pl.Float64,
                "oos_trades": pl.Int64,
            },
            key="strategy window",
            nullable="in_sample_sharpe oos_sharpe",
        ),
        _table(
            "trials",
            "Every parameter set that was ever looked at, counted by family; append-only.",
            {
                "family": pl.String,
                "code": pl.String,
                "parameters": pl.String,
                "params": pl.String,
                "strategy": pl.String,
                "first_seen": TS,
            },
            key="family code parameters",
        ),
        _table(
            "trial_ratios",
            "The Sharpe ratio per session of every trial over the full span, as its last backtest measured it.",
            {
                "family": pl.String,
                "code": pl.String,
                "parameters": pl.String,
                "sharpe": pl.Float64,
                "last_session": pl.Date,
            },
            key="family code parameters",
            nullable="sharpe",
        ),
        _table(
            "scorecards",
            "Every metric of a strategy version, with its definition and where it came from.",
            {
                "strategy": pl.String,
                "metric": pl.String,
                "value": pl.Float64,
                "reason": pl.String,
                "definition": pl.String,
                "source": pl.String,
            },
            key="strategy metric",
            nullable="value reason",
        ),
        _table(
            "evidence",
            "The canonical document behind every decision, under its id.",
            {"id": pl.String, "strategy": pl.String, "as_of": pl.Date, "document": pl.String},
            key="id",
        ),
        _table(
            "reviews",
            "The newest review of every strategy version, whether or not the ledger had to be told.",
            {"strategy": pl.String, "decision": pl.String, "document": pl.String},
            key="strategy",
        ),
        _table(
            "snapshots",
            "The two files of every registered strategy version, as they were.",
            {
                "strategy": pl.String,
                "signal": pl.String,
                "configuration": pl.String,
                "content": pl.String,
                "kept_at": TS,
            },
            key="strategy",
        ),
        _table(
            "control_record",
            "The negative controls of the last night: what the gate said, and which rules failed.",
            {"control": pl.String, "refused": pl.Boolean, "failed_rules": pl.List(pl.String), "decision": pl.String},
            key="control",
        ),
    )
}


def table(name: str) -> Table:
    """The table called `name`; ContractError with the known names when there is none."""
    if name not in TABLES:
        msg = f"no table is called {name!r}; the tables are {', '.join(sorted(TABLES))}"
        raise ContractError(msg)
    return TABLES[name]


def empty(name: str) -> pl.DataFrame:
    """A frame of no rows with the columns of the table `name`."""
    return pl.DataFrame(schema=table(name).columns)


def frame(name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """`rows` as a frame with the columns of the table `name`; a key that is no column is an error of the caller."""
    return pl.DataFrame(rows, schema=table(name).columns)


def check(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the table's columns in order; ContractError naming every column and rule that it breaks."""
    import pandera.errors

    wanted = table(name)
    unique = not _ascends(frame, wanted.key)
    try:
        checked: pl.DataFrame = _schema(wanted, unique=unique).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as broken:
        cases = broken.failure_cases
        seen = "; ".join(
            f"{row['column'] or 'frame'}: {row['check']} (found {row['failure_case']})"
            for row in cases.head(5).iter_rows(named=True)
        )
        msg = f"{frame.height} rows do not keep the contract of table {name!r}: {seen}"
        raise ContractError(msg) from None
    extra = [column for column in checked.columns if column not in wanted.columns]
    return checked.select(*wanted.columns, *extra)


def _ascends(frame: pl.DataFrame, key: Sequence[str]) -> bool:
    """Does every row's key come after the one before it? Then none comes twice, which costs ten times less to see."""
    if frame.height < MANY_ROWS or not set(key) <= set(frame.columns):
        return False
    later = pl.lit(value=False)
    for column in reversed(key):
        before = pl.col(column).shift(1)
        later = (pl.col(column) > before) | ((pl.col(column) == before) & later)
    return bool(frame.lazy().select(later.slice(1).all()).collect().item())


def _schema(wanted: Table, *, unique: bool) -> "pa.DataFrameSchema":
    import pandera.polars as pa

    columns = {
        name: pa.Column(dtype, nullable=name in wanted.nullable, coerce=False) for name, dtype in wanted.columns.items()
    }
    key = list(wanted.key) if unique else None
    return pa.DataFrameSchema(columns, strict=not wanted.open_ended, unique=key or None, name=wanted.name)
