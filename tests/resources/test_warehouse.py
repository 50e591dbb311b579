"""The warehouse: the lake in SQL, swapped in whole."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from quality import tables
from resources.lake import Lake
from resources.warehouse import Warehouse

FIRST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def ask(warehouse: Warehouse, question: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(warehouse.path, read_only=True) as connection:
        return connection.sql(question).fetchall()


def bars(instrument: str, *, n: int) -> pl.DataFrame:
    price = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 10.0}
    labels = {"dataset": "small", "instrument": instrument, "sequence": 1}
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
    assert {name for (name,) in ask(warehouse, "SELECT table_name FROM information_schema.tables")} == set(
        tables.TABLES
    )
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
