"""What is held after a night, as the one object that `gauntlet nightly --json` prints.

Counts cover everything held from each data set's `start` to its `as_of`, so a second night with nothing new
says the same; only `new`, `new_rows`, `seconds` and `run_ids` are of the night itself.
"""

import json
from datetime import date
from typing import Any

import polars as pl

from pipelines.night import is_blocked
from pipelines.run_night import Done
from pipelines.workplace import Workplace
from quality import ledger as chain
from quality import sla
from quality.datasets import Dataset
from quality.evidence import encode
from resources.lake import Condition
from resources.market import calendar_of, owned
from resources.retractions import standing_receipts

_BACKTEST = (
    *("net_return", "sharpe", "max_drawdown", "n_trades", "profit_factor", "profit_concentration", "ambiguous_share"),
    *("n_trials", "probabilistic_sharpe", "deflated_sharpe", "track_record_ratio"),
)
_WALK_FORWARD = ("oos_sharpe", "oos_sharpe_lower", "oos_net_return", "degradation", "oos_windows_positive")


def summary(workplace: Workplace, done: Done) -> dict[str, Any]:
    """As the contract fixes it."""
    entries = workplace.ledger.store().entries()
    standings = chain.stages(entries, expires_days=workplace.project.promotion.evidence_expires_days)
    refused = workplace.lake.read("control_record")["refused"]
    return {
        "as_of": str(max(done.as_of.values())) if done.as_of else None,
        "new": bool(done.run_ids),
        "datasets": [
            {**_dataset(workplace, workplace.project.datasets[name], last), "new_rows": done.new_rows.get(name, 0)}
            for name, last in done.as_of.items()
        ],
        "strategies": [
            _strategy(workplace, key, standings[key].stage)
            for key, definition in workplace.project.strategies.items()
            if definition.configuration.dataset in done.as_of and key in standings
        ],
        "controls": {"refused": int(refused.sum()), "of": refused.len()},
        "seconds": round(done.seconds, 2),
        "run_ids": list(done.run_ids),
    }


def _dataset(workplace: Workplace, dataset: Dataset, last: date) -> dict[str, Any]:
    lake, name = workplace.lake, dataset.name
    of: dict[str, Condition] = {"dataset": name, "instrument": dataset.ids}
    inside = pl.col("session").is_between(dataset.start, last)
    record = lake.scan("sla_record", **of).filter(inside).collect()
    embargoed = _embargoed(record)
    completeness = record.filter(pl.col("rule") == "completeness").group_by("instrument").agg(pl.col("value").min())
    lowest = dict(completeness.rows())
    failed = sla.failed_sessions(record).group_by("instrument").agg(pl.col("failed").sum())
    below = dict(failed.rows())
    return {
        "name": name,
        "as_of": str(last),
        "sessions": record["session"].n_unique(),
        "rows_received": _rows(received(workplace, dataset, last)),
        "rows_accepted": _rows(lake.scan("bars", **of).filter(inside)),
        "rows_quarantined": _rows(lake.scan("quarantine", **of).filter(inside)),
        "blocked": is_blocked(workplace.project, dataset, lake, last),
        "instruments": [
            {
                "id": instrument.id,
                "completeness_min": encode(lowest.get(instrument.id)),
                "sessions_below_sla": int(below.get(instrument.id, 0)),
                "embargoed": instrument.id in embargoed,
            }
            for instrument in dataset.instruments
        ],
    }


def _embargoed(record: pl.DataFrame) -> set[str]:
    """Who may decide nothing in the next session, because the newest judged one failed."""
    failed = sla.failed_sessions(record)
    newest = failed.filter(pl.col("session") == pl.col("session").max().over("instrument"), pl.col("failed"))
    return set(newest["instrument"])


def _rows(held: pl.LazyFrame) -> int:
    return int(held.select(pl.len()).collect().item())


def received(workplace: Workplace, dataset: Dataset, last: date) -> pl.LazyFrame:
    """Rows that came for the data set's sessions up to `last` in receipts that stand.

    A row without a readable ts counts where its receipt begins.
    """
    closes = calendar_of(workplace.project, dataset).closes(dataset.start, last)
    dated = pl.col("ts").is_between(*owned(closes, dataset.start, last), closed="left")
    receipts = standing_receipts(workplace.lake, dataset.name).lazy().select("sequence", "first_session")
    raw = workplace.lake.scan("raw_bars", dataset=dataset.name, instrument=dataset.ids)
    rows = raw.join(receipts, on="sequence", how="inner")
    undated = pl.col("first_session").is_between(dataset.start, last)
    return rows.filter(pl.when(pl.col("ts").is_null()).then(undated).otherwise(dated))


def _strategy(workplace: Workplace, key: str, stage: str) -> dict[str, Any]:
    rows = workplace.lake.read("scorecards", strategy=key)
    values = {row["metric"]: encode(row["value"]) for row in rows.iter_rows(named=True)}
    reviews = workplace.lake.read("reviews", strategy=key)
    return {
        "strategy": key,
        "stage": stage,
        "backtest": {name: values.get(name) for name in _BACKTEST},
        "walk_forward": {name: values.get(name) for name in _WALK_FORWARD},
        "decision": None if reviews.is_empty() else json.loads(reviews["document"][0]),
    }
