"""Real bars with defects on purpose, received twice and judged: every table that expectations read."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl

from engine.bars import COLUMNS, PRICES
from quality import bars as contract
from quality import sla, tables
from quality.policies import Limit, ServiceLevel
from resources.calendars import open_calendar
from resources.sources.sample_source import SampleSource

DATASET = "crypto_5m"
FIRST, LAST = date(2017, 7, 1), date(2017, 7, 21)
INSTRUMENTS = ("BTCUSD.BITFINEX", "ETHUSD.BITFINEX")
AGAIN = (date(2017, 7, 8), date(2017, 7, 12))  # the sessions that the second receipt speaks for
_RECEIVED = datetime(2017, 8, 1, tzinfo=UTC)
_EVERY = 577  # rows between two defects of a kind


class _Named:
    def __init__(self, name: str) -> None:
        self.id = self.symbol = name


def limit(*, at_most: float, severity: Literal["warn", "enforce"] = "warn", since: date | None = None) -> Limit:
    return Limit.model_validate({"at_most": at_most, "severity": severity, "why": "for the test", "from": since})


def policy(*, completeness: Limit, **others: Limit) -> ServiceLevel:
    enforced = {name: limit(at_most=most, severity="enforce") for name, most in (("nan", 0), ("duplicates", 0))}
    others_too = {"quarantined": limit(at_most=0.01), "block_share": 0.5, "max_range_ratio": 1_000}
    return ServiceLevel.model_validate({"completeness": completeness} | others_too | enforced | others)


def judged_tables(
    level: ServiceLevel, *, on_conflict: Literal["refuse", "keep_last"] = "refuse"
) -> dict[str, pl.DataFrame]:
    """`receipts raw_bars bars quarantine sla_record` of two instruments over three weeks."""
    parts: dict[str, list[pl.DataFrame]] = {}
    for place, instrument in enumerate(INSTRUMENTS):
        for name, frame in _judged(instrument, 2 * place + 1, level, on_conflict).items():
            labelled = frame.with_columns(dataset=pl.lit(DATASET), instrument=pl.lit(instrument))
            parts.setdefault(name, []).append(labelled.select(list(tables.table(name).columns)))
    return {name: tables.check(name, pl.concat(frames)) for name, frames in parts.items()}


def _judged(
    instrument: str, sequence: int, level: ServiceLevel, on_conflict: Literal["refuse", "keep_last"]
) -> dict[str, pl.DataFrame]:
    calendar = open_calendar("24/7")
    due, sessions = calendar.due(FIRST, LAST, "5m"), calendar.sessions(FIRST, LAST)
    (delivery,) = SampleSource(DATASET).deliveries(_Named(instrument), first=FIRST, last=LAST)
    again = delivery.rows.filter(pl.col("ts").dt.date().is_between(*AGAIN))
    first, second = _with_defects(delivery.rows, at=11), _with_defects(again, at=200)
    raw = pl.concat([first.with_columns(sequence=pl.lit(sequence)), second.with_columns(sequence=pl.lit(sequence + 1))])
    raw = raw.with_columns(pl.col("sequence").cast(pl.Int64))
    receipts = tables.frame(
        "receipts",
        [
            _receipt(sequence, FIRST, LAST, first.height),
            _receipt(sequence + 1, *AGAIN, second.height),
        ],
    ).with_columns(instrument=pl.lit(instrument))
    judged = contract.judge(
        raw,
        receipts,
        due,
        calendar.closes(FIRST, LAST),
        first=FIRST,
        last=LAST,
        timeframe="5m",
        on_conflict=on_conflict,
        max_range_ratio=level.max_range_ratio,
    )
    counted = sla.count_sessions(sessions, due, judged).with_columns(instrument=pl.lit(instrument))
    return {
        "receipts": receipts,
        "raw_bars": raw,
        "bars": judged.accepted.with_columns(filled=pl.lit(value=False)),
        "quarantine": judged.quarantined,
        "sla_record": sla.verdicts(counted, level.limits),
    }


def _receipt(sequence: int, first: date, last: date, n_rows: int) -> dict[str, object]:
    return {
        "dataset": DATASET,
        "sequence": sequence,
        "instrument": "",
        "content": f"{sequence}",
        "first_session": first,
        "last_session": last,
        "n_rows": n_rows,
        "received_at": _RECEIVED + timedelta(days=sequence),
        "source": "sample",
        "origin": "a test",
    }


def _with_defects(rows: pl.DataFrame, *, at: int) -> pl.DataFrame:
    """Each kind of defect a few times, from row `at` on; then rows that come a second time, the same and not."""
    nth = pl.int_range(pl.len())

    def every(offset: int) -> pl.Expr:
        return nth % _EVERY == at + offset

    rows = rows.with_columns(
        ts=pl.when(every(1)).then(None).when(every(2)).then(pl.col("ts") + pl.duration(minutes=1)).otherwise("ts"),
        close=pl.when(every(3)).then(float("nan")).when(every(4)).then(None).otherwise("close"),
        high=pl.when(every(5)).then(pl.col("low") / 2).when(every(10)).then(pl.col("low") * 2_000).otherwise("high"),
        low=pl.when(every(6)).then(pl.col("high") * 2).otherwise("low"),
        open=pl.when(every(7)).then(0.0).otherwise("open"),
        volume=pl.when(every(8))
        .then(-1.0)
        .when(every(9))
        .then(None)
        .when(every(12))
        .then(float("nan"))
        .when(every(13))
        .then(float("inf"))
        .otherwise("volume"),
    ).filter(~every(20) & ~every(21) & ~every(22) & ~every(23))
    same, other = rows.gather_every(499, 20), rows.gather_every(907, 33).with_columns(pl.col(PRICES) * 1.0001)
    twice = pl.concat([rows, same, other])
    return twice.with_columns(line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)).select("line", "ts", *COLUMNS)
