"""The warehouse: the lake in SQL, swapped in whole."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from quality import tables
from resources.errors import (
    NotOneQueryError,
    NoWarehouseError,
    RefusedQueryError,
    UnknownTableError,
    UnreadableWarehouseError,
    WritingQueryError,
)
from resources.lake import Lake
from resources.warehouse import Warehouse
from resources.warehouse import ask as answer_to

pytestmark = pytest.mark.slow

FIRST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def ask(warehouse: Warehouse, question: str) -> list[tuple[Any, ...]]:
    with warehouse.reader() as connection:
        return list(answer_to(connection, question).rows)


def bars(instrument: str, *, n: int) -> pl.DataFrame:
    price = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 10.0}
    labels = {"dataset": "small", "instrument": instrument, "sequence": 1, "filled": False}
    days = [FIRST + timedelta(days=day) for day in range(n)]
    return tables.frame("bars", [{**labels, **price, "session": ts.date(), "ts": ts} for ts in days])


def verdict(name: str, *, refused: bool) -> pl.DataFrame:
    return tables.frame(
        "control_record", [{"control": name, "refused": refused, "failed_rules": ["a", "b"], "decision": "x"}]
    )


def feature(name: str, *, dataset: str) -> pl.DataFrame:
    row = {"dataset": dataset, "instrument": "7", "session": FIRST.date(), "ts": FIRST}
    return pl.DataFrame([row], schema=tables.table("features").columns).with_columns(pl.lit(2.0).alias(name))


def test_every_table_is_there_before_anything_was_written(lake: Lake, warehouse: Warehouse) -> None:
    assert warehouse.rebuild(lake) == dict.fromkeys(tables.TABLES, 0)
    names = ask(warehouse, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'")
    assert {name for (name,) in names} == set(tables.TABLES)
    assert ask(warehouse, "SELECT count(*) FROM bars WHERE dataset = 'small' AND close > 1") == [(0,)]


def test_bars_and_small_tables_answer_together(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", pl.concat([bars("ONE.TEST", n=3), bars("7", n=2)]), dataset="small")
    lake.replace("control_record", verdict("peeking", refused=True), control="peeking")
    rows = warehouse.rebuild(lake)
    assert (rows["bars"], rows["control_record"], rows["receipts"]) == (5, 1, 0)
    counted = (
        "SELECT dataset, instrument, count(*), max(session), max(close) FROM bars GROUP BY ALL ORDER BY instrument"
    )
    assert ask(warehouse, counted) == [
        ("small", "7", 2, date(2020, 1, 2), 2.0),  # an id of digits stays a text
        ("small", "ONE.TEST", 3, date(2020, 1, 3), 2.0),
    ]
    assert ask(warehouse, "SELECT refused, failed_rules FROM control_record") == [(True, ["a", "b"])]


def test_a_view_shows_the_rows_that_count_and_not_those_they_replaced(lake: Lake, warehouse: Warehouse) -> None:
    for n in (5, 2):
        lake.replace("bars", bars("ONE.TEST", n=n), dataset="small", instrument="ONE.TEST")
    warehouse.rebuild(lake)
    assert ask(warehouse, "SELECT count(*) FROM bars") == [(2,)]


def test_features_of_two_data_sets_are_columns_of_one_view(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("features", feature("atr_14", dataset="small"), dataset="small")
    lake.replace("features", feature("roc_252", dataset="other"), dataset="other")
    warehouse.rebuild(lake)
    asked = "SELECT dataset, atr_14, roc_252 FROM features ORDER BY dataset"
    assert ask(warehouse, asked) == [("other", None, 2.0), ("small", 2.0, None)]


def test_a_table_that_was_emptied_is_empty(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", bars("ONE.TEST", n=3), dataset="small")
    lake.replace("bars", tables.empty("bars"), dataset="small")
    assert warehouse.rebuild(lake)["bars"] == 0


def test_a_reader_keeps_what_it_opened_and_the_next_one_sees_the_new(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", bars("ONE.TEST", n=2), dataset="small")
    lake.replace("control_record", verdict("peeking", refused=True), control="peeking")
    warehouse.rebuild(lake)
    both = "SELECT (SELECT count(*) FROM bars), refused FROM control_record"
    with duckdb.connect(warehouse.path, read_only=True) as reader:
        lake.replace("bars", bars("ONE.TEST", n=3), dataset="small")
        lake.replace("control_record", verdict("peeking", refused=False), control="peeking")
        warehouse.rebuild(lake)
        assert reader.sql(both).fetchall() == [(2, True)]
    assert ask(warehouse, both) == [(3, False)]


def test_what_a_kill_left_half_built_is_built_anew(lake: Lake, warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "warehouse.building").write_bytes(b"half a file")
    warehouse.rebuild(lake)
    assert {file.name for file in tmp_path.iterdir()} == {"warehouse.duckdb"}


@pytest.mark.parametrize("folder", ["it's a home", "100% of it", "ü#*{a,b}", '"quoted"'])
def test_a_view_finds_its_files_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    lake = Lake(root=str(tmp_path / folder / "lake"), lock_path="")
    warehouse = Warehouse(path=str(tmp_path / folder / "warehouse.duckdb"))
    lake.replace("bars", bars("A/B %20'[x]", n=3), dataset="small")
    assert warehouse.rebuild(lake)["bars"] == 3
    assert ask(warehouse, "SELECT DISTINCT dataset, instrument FROM bars") == [("small", "A/B %20'[x]")]


QUESTIONS = (
    "SELECT * FROM bars ORDER BY ALL",
    "SELECT * FROM control_record ORDER BY ALL",
    "SELECT * FROM features ORDER BY ALL",
    "SELECT * FROM fills ORDER BY ALL",
    "SELECT instrument, count(*), max(ts) FROM bars GROUP BY ALL ORDER BY 1",
    "DESCRIBE bars",
    "DESCRIBE control_record",
    "DESCRIBE receipts",
)


def test_the_same_sql_says_the_same_of_the_lake_and_of_the_warehouse(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", pl.concat([bars("ONE.TEST", n=3), bars("7", n=2)]), dataset="small")
    lake.replace("features", feature("atr_14", dataset="small"), dataset="small")
    lake.replace("control_record", verdict("peeking", refused=True), control="peeking")
    warehouse.rebuild(lake)
    with warehouse.reader() as file, warehouse.over(lake) as straight:
        for question in QUESTIONS:
            kept, now = answer_to(file, question), answer_to(straight, question)
            assert kept.columns == now.columns, question
            assert list(kept.rows) == list(now.rows), question
    lake.replace("bars", bars("7", n=4), dataset="small", instrument="7")
    with warehouse.reader() as file, warehouse.over(lake) as straight:
        assert [list(answer_to(one, "SELECT count(*) FROM bars").rows) for one in (file, straight)] == [[(5,)], [(7,)]]


def test_columns_are_in_the_order_of_the_table_and_every_table_says_what_it_is(
    lake: Lake, warehouse: Warehouse
) -> None:
    lake.replace("bars", bars("7", n=2), dataset="small")
    warehouse.rebuild(lake)
    assert [name for name, *_ in ask(warehouse, "DESCRIBE bars")] == list(tables.table("bars").columns)
    about = dict(ask(warehouse, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
    about |= dict(ask(warehouse, "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main'"))
    assert about == {name: table.about for name, table in tables.TABLES.items()}


def test_the_files_that_views_read_are_told_so_that_they_are_kept(lake: Lake, warehouse: Warehouse) -> None:
    assert warehouse.files() == set()
    lake.replace("bars", bars("7", n=2), dataset="small")
    warehouse.rebuild(lake)
    before = warehouse.files()
    assert before == set(lake.files("bars"))
    lake.replace("bars", bars("7", n=3), dataset="small")
    assert warehouse.files() == before, "those of the last rebuild, which people read"
    assert before & set(lake.files("bars")) == set()
    warehouse.rebuild(lake)
    assert warehouse.files() == set(lake.files("bars"))


@pytest.mark.parametrize(
    ("question", "error", "told"),
    [
        ("SELECT * FROM barz", UnknownTableError, "there is no table 'barz': did you mean 'bars'?"),
        ("SELECT * FROM nope.bars", UnknownTableError, "there is no table 'nope.bars'"),
        ("SELECT clse FROM bars", RefusedQueryError, 'Referenced column "clse" not found'),
        ("SELEC 1", RefusedQueryError, "syntax error"),
        ("SELECT CAST('x' AS INTEGER)", RefusedQueryError, "Could not convert string 'x'"),
        ("", NotOneQueryError, "this is 0 queries: ask one"),
        ("SELECT 1; SELECT 2", NotOneQueryError, "this is 2 queries: ask one"),
        ("CREATE TABLE mine AS SELECT 1", WritingQueryError, "CREATE is no query, and the warehouse is only read"),
        ("INSERT INTO receipts VALUES (1)", WritingQueryError, "INSERT"),
        ("COPY bars TO 'bars.csv'", WritingQueryError, "COPY"),
        ("ATTACH 'other.duckdb'", WritingQueryError, "ATTACH"),
        ("INSTALL httpfs", WritingQueryError, "LOAD"),
        ("SET threads = 1", WritingQueryError, "SET"),
        ("EXPLAIN ANALYZE COPY bars TO 'bars.csv'", WritingQueryError, "EXPLAIN"),
        ("SELECT * FROM 'https://example.org/x.parquet'", RefusedQueryError, "httpfs"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(
    lake: Lake, warehouse: Warehouse, question: str, error: type[RefusedQueryError], told: str
) -> None:
    warehouse.rebuild(lake)
    with pytest.raises(error) as refused:
        ask(warehouse, question)
    assert told in str(refused.value)


def test_an_error_in_a_row_that_comes_late_is_told_too(lake: Lake, warehouse: Warehouse) -> None:
    warehouse.rebuild(lake)
    late = "SELECT CASE WHEN i > 90000 THEN CAST('x' || i AS INTEGER) ELSE i END FROM range(100000) t(i)"
    with pytest.raises(RefusedQueryError, match="Could not convert"):
        ask(warehouse, late)


def test_a_table_can_be_turned_around(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", pl.concat([bars("A", n=2), bars("B", n=2)]), dataset="small")
    warehouse.rebuild(lake)
    closes = "PIVOT (SELECT session, instrument, close FROM bars) ON instrument USING first(close) ORDER BY session"
    assert ask(warehouse, closes) == [(FIRST.date(), 2.0, 2.0), (FIRST.date() + timedelta(days=1), 2.0, 2.0)]


def test_a_moment_is_told_in_utc(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", bars("7", n=1), dataset="small")
    warehouse.rebuild(lake)
    assert ask(warehouse, "SELECT CAST(ts AS VARCHAR) FROM bars") == [("2020-01-01 00:00:00+00",)]


def test_there_is_none_before_the_first_night_and_a_broken_file_is_told(warehouse: Warehouse) -> None:
    with pytest.raises(NoWarehouseError, match="there is no warehouse yet"):
        ask(warehouse, "SELECT 1")
    Path(warehouse.path).write_bytes(b"no database" * 1_000)
    with pytest.raises(UnreadableWarehouseError, match="delete it"):
        ask(warehouse, "SELECT 1")


READER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
connection.execute("SET enable_progress_bar = false")
answer = connection.execute("SELECT a.ts, b.refused FROM bars a, control_record b, range(20000) ORDER BY a.ts")
print(len(answer.fetchmany(10)), flush=True)
sys.stdin.readline()
seen, n = set(), 10
while chunk := answer.fetchmany(10000):
    n += len(chunk)
    seen |= {refused for _, refused in chunk}
again = connection.execute("SELECT count(*) FROM bars").fetchone()
print(n, seen, again, flush=True)
"""


@pytest.mark.slow
def test_another_process_reads_on_while_nights_swap_the_file(lake: Lake, warehouse: Warehouse) -> None:
    lake.replace("bars", bars("ONE.TEST", n=5), dataset="small")
    lake.replace("control_record", verdict("peeking", refused=True), control="peeking")
    warehouse.rebuild(lake)
    with subprocess.Popen(
        [sys.executable, "-c", READER, warehouse.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout
        assert reader.stdin
        assert reader.stdout.readline() == "10\n"
        for n in (7, 9):
            lake.replace("bars", bars("ONE.TEST", n=n), dataset="small")
            lake.replace("control_record", verdict("peeking", refused=False), control="peeking")
            warehouse.rebuild(lake)
        reader.stdin.write("go on\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "100000 {True} (5,)\n"
    assert ask(warehouse, "SELECT (SELECT count(*) FROM bars), refused FROM control_record") == [(9, False)]
