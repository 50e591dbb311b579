"""Maintenance: the lake gets fewer files, and nothing that was believed on it can no longer be computed."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from assets import maintenance
from quality import bars as contract
from quality import tables
from resources.calendars import open_calendar
from resources.lake import Lake
from resources.warehouse import Warehouse, ask

pytestmark = pytest.mark.slow

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(6)]
SMALL_FILES = 4


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few files are many, and what left a table is forgotten at once."""
    monkeypatch.setattr("resources.lake.SMALL_FILES", SMALL_FILES)
    monkeypatch.setattr("resources.lake.COMMITS", SMALL_FILES)
    monkeypatch.setattr(maintenance, "KEPT", timedelta(0))


@pytest.fixture
def sql(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def maintain(lake: Lake, sql: Warehouse) -> dict[str, int]:
    result = maintenance.compaction(lake=lake, sql=sql)
    assert isinstance(result, dg.MaterializeResult)
    return {name: int(value) for name, value in (result.metadata or {}).items()}


def receive(lake: Lake, sequence: int, days: list[date], *, close: float) -> None:
    """One receipt of hourly bars, kept as the intake keeps it."""
    start = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC)
    stamps = [start + timedelta(hours=n) for n in range(24 * len(days))]
    own = {"dataset": "small", "instrument": "ONE.TEST", "sequence": sequence}
    price = {"open": 2.0, "high": 9.0, "low": 1.0, "close": close, "volume": 1.0}
    lake.append(
        "raw_bars", tables.frame("raw_bars", [{**own, "line": n, "ts": ts, **price} for n, ts in enumerate(stamps)])
    )
    said = {
        **own,
        "content": f"sha256:{sequence}",
        "first_session": days[0],
        "last_session": days[-1],
        "first": stamps[0],
        "last": stamps[-1],
        "n_rows": len(stamps),
        "received_at": start + timedelta(days=30 + sequence),
        "source": "sample",
        "origin": "a test",
    }
    lake.append("receipts", tables.frame("receipts", [said]))


def as_of(lake: Lake, sequence: int) -> pl.DataFrame:
    """The digests of the bars as they were when receipt `sequence` was the newest."""
    known = pl.col("sequence") <= sequence
    calendar, span = open_calendar("24/7"), (DAYS[0], DAYS[-1])
    judged = contract.judge(
        lake.read("raw_bars", dataset="small").filter(known),
        lake.read("receipts", dataset="small").filter(known).sort("sequence"),
        calendar.due(*span, "1h"),
        calendar.closes(*span),
        first=span[0],
        last=span[1],
        timeframe="1h",
    )
    return contract.digests(judged.accepted)


def n_files(lake: Lake, name: str) -> int:
    return len([file for file in lake.path(name).rglob("*.parquet") if "_delta_log" not in file.parts])


def test_bars_as_of_any_receipt_that_evidence_names_can_be_made_again(lake: Lake, sql: Warehouse) -> None:
    evidence = {}
    for sequence, day in enumerate(DAYS, start=1):
        receive(lake, sequence, [day], close=float(sequence))
        evidence[sequence] = as_of(lake, sequence)
    receive(lake, 7, DAYS[1:3], close=8.0)  # a restatement of two days
    evidence[7] = as_of(lake, 7)
    assert not evidence[6].equals(evidence[7])

    assert maintain(lake, sql)["files folded"] > 0
    receive(lake, 8, DAYS[:1], close=1.5)
    maintain(lake, sql)

    for sequence, digests in evidence.items():
        assert_frame_equal(as_of(lake, sequence), digests)


def test_rows_as_received_are_folded_and_no_file_of_theirs_is_deleted(lake: Lake, sql: Warehouse) -> None:
    for sequence, day in enumerate(DAYS, start=1):
        receive(lake, sequence, [day], close=1.5)
    rows, receipts = lake.read("raw_bars").sort("sequence", "line"), lake.read("receipts").sort("sequence")
    assert maintain(lake, sql) == {"files folded": 2 * (len(DAYS) - 1), "files deleted": 0}
    assert len(lake.files("raw_bars")) == 1
    assert n_files(lake, "raw_bars") == n_files(lake, "receipts") == len(DAYS) + 1
    assert_frame_equal(lake.read("raw_bars").sort("sequence", "line"), rows)
    assert_frame_equal(lake.read("receipts").sort("sequence"), receipts)


def test_what_is_in_order_is_left_as_it_is(lake: Lake, sql: Warehouse) -> None:
    for sequence, day in enumerate(DAYS, start=1):
        receive(lake, sequence, [day], close=1.5)
    maintain(lake, sql)
    versions = {name: lake.version(name) for name in tables.TABLES}
    assert maintain(lake, sql) == {"files folded": 0, "files deleted": 0}
    assert {name: lake.version(name) for name in tables.TABLES} == versions


def bars(day: date, close: float) -> pl.DataFrame:
    price = {"open": 2.0, "high": 9.0, "low": 1.0, "close": close, "volume": 1.0}
    row = {
        "dataset": "small",
        "instrument": "ONE.TEST",
        "session": day,
        "ts": datetime(2020, 1, 1, tzinfo=UTC),
        **price,
    }
    return tables.frame("bars", [{**row, "sequence": 1, "filled": False}])


def test_the_present_warehouse_can_be_read_until_the_next_one_is_there(lake: Lake, sql: Warehouse) -> None:
    lake.replace("bars", bars(DAYS[0], 3.0), dataset="small")
    sql.rebuild(lake)
    lake.replace("bars", bars(DAYS[0], 4.0), dataset="small")
    assert maintain(lake, sql)["files deleted"] == 0
    with sql.reader() as connection:
        assert list(ask(connection, "SELECT close FROM bars").rows) == [(3.0,)]
    sql.rebuild(lake)
    assert maintain(lake, sql)["files deleted"] == 1
    with sql.reader() as connection:
        assert list(ask(connection, "SELECT close FROM bars").rows) == [(4.0,)]


def test_a_warehouse_that_cannot_be_read_stops_nothing(lake: Lake, sql: Warehouse) -> None:
    for close in (3.0, 4.0):
        lake.replace("bars", bars(DAYS[0], close), dataset="small")
    Path(sql.path).write_bytes(b"no warehouse at all" * 1_000)
    assert maintain(lake, sql)["files deleted"] == 1
