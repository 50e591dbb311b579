"""The lake: a write owns its window, wholly and alone."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from quality import tables
from quality.errors import ContractError
from resources.errors import LakeError
from resources.lake import Between, Condition, Lake

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(10)]
WRITER = """
import sys
from resources.lake import Lake
from tests.resources.test_lake import DAYS, digests
lake, name = Lake(root=sys.argv[1], lock_path=""), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for again in range(2):
    for day in DAYS[:4]:
        lake.replace("digests", digests([day], dataset=name), dataset=name, session=day)
"""


def digests(days: Sequence[date], *, digest: str = "first", dataset: str = "small") -> pl.DataFrame:
    rows = [
        {"dataset": dataset, "session": day, "instrument": "ONE.TEST", "digest": digest, "n_bars": 1, "sequence": 1}
        for day in days
    ]
    return tables.frame("digests", rows)


def bars(days: Sequence[date], *, dataset: str = "small", instrument: str = "ONE.TEST", n: int = 1) -> pl.DataFrame:
    """`n` bars of each day, a minute apart."""
    price = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 10.0}
    one = {"dataset": dataset, "instrument": instrument, **price, "sequence": 1, "filled": False}
    rows = [
        {**one, "session": day, "ts": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minute)}
        for day in days
        for minute in range(n)
    ]
    return tables.frame("bars", rows)


def raw(stamps: Sequence[datetime | None], *, sequence: int = 1) -> pl.DataFrame:
    """A row as received for each stamp."""
    said = {"dataset": "small", "instrument": "ONE.TEST", "sequence": sequence, "open": 2.0, "high": 3.0, "low": 1.0}
    rows = [{**said, "close": 2.0, "volume": 10.0, "line": line, "ts": ts} for line, ts in enumerate(stamps)]
    return tables.frame("raw_bars", rows)


def held(lake: Lake, name: str = "digests") -> pl.DataFrame:
    return lake.read(name).sort(*tables.table(name).key)


def test_a_table_of_a_version_before_gains_the_columns_it_lacked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    now = tables.table("equity")
    row = {"strategy": "a@1.0.0", "scope": "backtest", "session": DAYS[0], "equity": 1.0, "return": 0.0}
    row |= {"drawdown": 0.5, "gross_exposure": 0.0}
    columns = {name: dtype for name, dtype in now.columns.items() if name != "drawdown"}
    with monkeypatch.context() as before:
        before.setitem(tables.TABLES, "equity", now._replace(columns=columns))
        older = {name: value for name, value in row.items() if name != "drawdown"}
        lake.replace("equity", tables.frame("equity", [older]), strategy="a@1.0.0")
    assert lake.read("equity")["drawdown"].to_list() == [None]
    lake.replace("equity", tables.frame("equity", [{**row, "strategy": "b@1.0.0"}]), strategy="b@1.0.0")
    assert lake.read("equity").sort("strategy")["drawdown"].to_list() == [None, 0.5]
    assert lake.read("equity").columns == list(now.columns)


def test_a_table_that_was_never_written_reads_as_no_rows_of_its_columns(lake: Lake) -> None:
    rows = lake.read("digests", dataset="small", session=Between(DAYS[0], DAYS[9]))
    assert_frame_equal(rows, tables.empty("digests"))
    assert lake.version("digests") == -1
    assert lake.files("digests") == []


def test_what_is_written_is_read_back_as_it_was(lake: Lake) -> None:
    lake.replace("digests", digests(DAYS), dataset="small")
    assert_frame_equal(held(lake), digests(DAYS), check_exact=True)


def test_lists_survive_the_way_through_the_lake(lake: Lake) -> None:
    refused = {"control": "peeking", "refused": True, "failed_rules": ["look_ahead_certificate"], "decision": "refused"}
    written = tables.frame("control_record", [refused])
    lake.replace("control_record", written, control="peeking")
    assert_frame_equal(lake.read("control_record"), written)


def test_writing_twice_changes_nothing(lake: Lake) -> None:
    for _ in range(2):
        lake.replace("digests", digests(DAYS), dataset="small")
    assert_frame_equal(held(lake), digests(DAYS))


def test_a_write_puts_its_rows_in_place_of_its_window_and_leaves_the_rest(lake: Lake) -> None:
    lake.replace("digests", digests(DAYS), dataset="small")
    lake.replace("digests", digests(DAYS[3:5], digest="second"), dataset="small", session=Between(DAYS[3], DAYS[7]))
    expected = pl.concat([digests(DAYS[:3]), digests(DAYS[3:5], digest="second"), digests(DAYS[7:])])
    assert_frame_equal(held(lake), expected)


def test_another_data_set_in_the_same_table_is_left_alone(lake: Lake) -> None:
    lake.replace("digests", digests(DAYS, dataset="other"), dataset="other")
    lake.replace("digests", digests(DAYS[:1]), dataset="small")
    lake.replace("digests", tables.empty("digests"), dataset="small")
    assert_frame_equal(held(lake), digests(DAYS, dataset="other"))


def test_an_empty_frame_clears_its_window(lake: Lake) -> None:
    lake.replace("digests", digests(DAYS), dataset="small")
    lake.replace("digests", tables.empty("digests"), dataset="small", session=Between(DAYS[0], DAYS[9]))
    assert held(lake)["session"].to_list() == [DAYS[9]]


def test_an_empty_frame_makes_no_table(lake: Lake) -> None:
    lake.replace("digests", tables.empty("digests"), dataset="small")
    lake.append("digests", tables.empty("digests"))
    assert not lake.path("digests").exists()


@pytest.mark.parametrize("n_writes", [0, 1], ids=["on the first write", "later"])
def test_rows_outside_the_window_are_refused_and_nothing_is_written(lake: Lake, n_writes: int) -> None:
    for _ in range(n_writes):
        lake.replace("digests", digests(DAYS[:1]), dataset="small")
    before = lake.version("digests")
    with pytest.raises(LakeError, match=r"2 rows for 'digests' lie outside the window .*2020, 1, 4"):
        lake.replace("digests", digests(DAYS[:5]), dataset="small", session=Between(DAYS[0], DAYS[3]))
    assert lake.version("digests") == before


def test_a_write_without_a_window_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match="must name the window it owns"):
        lake.replace("digests", digests(DAYS))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(digests(DAYS).drop("digest"), "digest", id="a column that is missing"),
        pytest.param(digests(DAYS).with_columns(more=1), "more", id="a column too many"),
        pytest.param(digests(DAYS).cast({"n_bars": pl.Int64}), "n_bars.*Int64", id="a wrong type"),
        pytest.param(digests(DAYS).with_columns(digest=pl.lit(None, pl.String)), "digest", id="a null in the key"),
        pytest.param(digests([*DAYS, DAYS[0]]), "unique|duplicate", id="a key twice"),
    ],
)
def test_what_breaks_the_contract_is_refused_before_a_byte_is_written(
    lake: Lake, broken: pl.DataFrame, said: str
) -> None:
    with pytest.raises(ContractError, match=f"'digests'.*(?:{said})"):
        lake.replace("digests", broken, dataset="small")
    with pytest.raises(ContractError, match=f"'digests'.*(?:{said})"):
        lake.append("digests", broken)
    assert not lake.path("digests").exists()


def test_a_table_that_does_not_exist_is_refused_with_those_that_do(lake: Lake) -> None:
    with pytest.raises(ContractError, match=r"no table is called 'candles'.*raw_bars"):
        lake.read("candles")


def test_append_adds_to_what_is_there(lake: Lake) -> None:
    lake.append("digests", digests(DAYS[:2]))
    lake.append("digests", digests(DAYS[2:]))
    assert_frame_equal(held(lake), digests(DAYS))


def test_the_features_of_two_data_sets_live_in_one_table(lake: Lake) -> None:
    ts = datetime(2020, 1, 1, tzinfo=UTC)
    bar = {"instrument": "ONE.TEST", "session": ts.date(), "ts": ts}
    for name, feature in [("small", "atr_14"), ("other", "roc_252")]:
        row = pl.DataFrame([{"dataset": name, **bar}], schema=tables.table("features").columns)
        lake.replace("features", row.with_columns(pl.lit(2.0).alias(feature)), dataset=name)
    features = lake.read("features").sort("dataset").select("dataset", "atr_14", "roc_252")
    assert features.rows() == [("other", None, 2.0), ("small", 2.0, None)]


@pytest.mark.parametrize(
    ("condition", "n_rows"),
    [
        pytest.param(DAYS[3], 1, id="a value equals"),
        pytest.param([DAYS[3], DAYS[5]], 2, id="a list is one of"),
        pytest.param([], 0, id="an empty list is none"),
        pytest.param(Between(DAYS[3], DAYS[5]), 2, id="a range leaves out its end"),
    ],
)
def test_reading_and_clearing_agree_on_what_a_condition_means(lake: Lake, condition: Condition, n_rows: int) -> None:
    lake.replace("digests", digests(DAYS), dataset="small")
    assert lake.read("digests", session=condition).height == n_rows
    lake.replace("digests", tables.empty("digests"), session=condition)
    assert held(lake).height == len(DAYS) - n_rows


def test_instants_are_compared_to_the_microsecond(lake: Lake) -> None:
    first = datetime(2020, 1, 1, 12, 0, 0, 1, tzinfo=UTC)
    row = {"step": "bars:small", "inputs": "x", "run_id": "r"}
    written = [{**row, "partition": str(n), "computed_at": first + timedelta(microseconds=n)} for n in range(3)]
    lake.append("work_record", tables.frame("work_record", written))
    one = Between(first + timedelta(microseconds=1), first + timedelta(microseconds=2))
    assert lake.read("work_record", computed_at=one)["partition"].to_list() == ["1"]
    lake.replace("work_record", tables.empty("work_record"), computed_at=one)
    assert held(lake, "work_record")["partition"].to_list() == ["0", "2"]


def test_a_text_in_a_condition_is_only_ever_a_text(lake: Lake) -> None:
    texts = ["o'clock", 'said "so"', "back\\slash", "%_;--", "' OR 1 = 1 --", "Zürich 東京"]
    lake.append("digests", pl.concat([digests(DAYS[:1], dataset=text) for text in texts]))
    for n_left, text in reversed(list(enumerate(texts))):
        lake.replace("digests", tables.empty("digests"), dataset=text)
        assert set(lake.read("digests")["dataset"]) == set(texts[:n_left])


@pytest.mark.parametrize("folder", ["it's a home", "100% of it", "ü#*{a,b}", '"quoted"'])
def test_a_lake_may_lie_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    lake = Lake(root=str(tmp_path / folder), lock_path="")
    for name, feature in [("o'clock 5%", "atr_14"), ("other", "roc_252")]:
        row = {"dataset": name, "instrument": "A/B %20'[x]", "session": DAYS[0], "ts": datetime(2020, 1, 1, tzinfo=UTC)}
        frame = pl.DataFrame([row], schema=tables.table("features").columns).with_columns(pl.lit(2.0).alias(feature))
        lake.replace("features", frame, dataset=name)
    features = lake.read("features", instrument="A/B %20'[x]").sort("dataset").select("dataset", "atr_14", "roc_252")
    assert features.rows() == [("o'clock 5%", 2.0, None), ("other", None, 2.0)]
    assert all(Path(file).is_file() for file in lake.files("features"))
    lake.replace("features", tables.empty("features"), dataset="other")
    assert lake.read("features")["dataset"].to_list() == ["o'clock 5%"]
    lake.replace("features", tables.empty("features"), dataset="o'clock 5%")
    assert lake.read("features").is_empty()


def test_of_a_partitioned_table_only_the_files_asked_for_are_scanned(lake: Lake) -> None:
    for name in ("small", "other"):
        lake.replace("bars", bars(DAYS[:1], dataset=name), dataset=name)
    for file in lake.files("bars"):
        if "dataset=other" in file:
            Path(file).unlink()
    assert lake.read("bars", dataset="small").height == 1


def test_only_files_that_may_hold_a_wanted_day_are_scanned(lake: Lake) -> None:
    for day in DAYS:
        lake.replace("bars", bars([day]), dataset="small", session=day)
    for file in lake.files("bars"):
        if pl.read_parquet(file)["session"][0] not in DAYS[4:6]:
            Path(file).unlink()
    assert sorted(lake.read("bars", session=Between(DAYS[4], DAYS[6]))["session"]) == DAYS[4:6]
    assert lake.read("bars", dataset="small", session=[DAYS[4]], sequence=1).height == 1
    assert lake.read("bars", session=Between(DAYS[4], DAYS[6]), sequence=[2, 3]).is_empty()


@pytest.mark.slow
def test_only_files_that_may_hold_a_wanted_instant_are_scanned(lake: Lake) -> None:
    for day in DAYS:
        lake.replace("bars", bars([day], n=3), dataset="small", session=day)
    wanted = lake.read("bars", session=DAYS[4])["ts"].sort()
    for file in lake.files("bars"):
        if pl.read_parquet(file)["session"][0] != DAYS[4]:
            Path(file).unlink()
    last = wanted[-1]
    assert lake.read("bars", ts=Between(wanted[0], last + timedelta(microseconds=1)))["ts"].sort().equals(wanted)
    assert lake.read("bars", ts=last).height == 1


def test_an_instant_is_found_by_its_last_microsecond(lake: Lake) -> None:
    odd = datetime(2020, 1, 1, 12, 0, 0, 999, tzinfo=UTC)
    lake.append("raw_bars", raw([odd]))
    assert lake.read("raw_bars", ts=Between(odd, odd + timedelta(microseconds=1)))["ts"].to_list() == [odd]


def test_what_is_null_can_be_asked_for_and_replaced(lake: Lake) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    lake.append("raw_bars", raw([moment]))
    without = set(lake.files("raw_bars"))
    lake.append("raw_bars", raw([None, moment], sequence=2))
    for file in without:
        Path(file).write_bytes(b"")  # whoever reads it fails
    assert lake.read("raw_bars", ts=None)["sequence"].to_list() == [2]
    lake.replace("raw_bars", tables.empty("raw_bars"), dataset="small", sequence=2, ts=None)
    assert lake.read("raw_bars", sequence=2)["ts"].to_list() == [moment]


def test_a_replaced_day_neither_reads_nor_writes_the_files_of_other_days(lake: Lake) -> None:
    names = [f"I{n:02d}.TEST" for n in range(30)]
    window = {"dataset": "small", "instrument": names}
    for day in DAYS[:3]:
        lake.replace("bars", pl.concat(bars([day], instrument=name) for name in names), **window, session=day)
    before = set(lake.files("bars"))
    others = {file for file in before if pl.read_parquet(file)["session"][0] != DAYS[1]}
    for file in others:
        Path(file).write_bytes(b"")  # whoever reads it fails
    again = pl.concat(bars([DAYS[1]], instrument=name, n=2) for name in names)
    lake.replace("bars", again, **window, session=Between(DAYS[1], DAYS[2]))
    assert others == before & set(lake.files("bars"))
    assert lake.read("bars", **window, session=DAYS[1]).height == 60


def test_files_are_cut_so_that_each_holds_a_stretch_of_sessions(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.lake.FILE_BYTES", 50_000)
    lake.replace("bars", bars(DAYS, n=1_440), dataset="small")
    spans = sorted((rows["session"].min(), rows["session"].max()) for rows in map(pl.read_parquet, lake.files("bars")))
    assert len(spans) > 3
    assert all(last <= first for (_, last), (first, _) in pairwise(spans))


@given(
    days=st.tuples(st.integers(-1, 10), st.integers(-1, 10)).map(sorted),
    sequences=st.lists(st.integers(0, 4), max_size=3),
    instruments=st.lists(st.sampled_from(["A.TEST", "B.TEST", "C.TEST"]), max_size=2),
)
@pytest.mark.slow
def test_leaving_files_out_changes_no_answer(
    many_files: tuple[Lake, pl.DataFrame], days: list[int], sequences: list[int], instruments: list[str]
) -> None:
    lake, rows = many_files
    first, end = (DAYS[0] + timedelta(days=n) for n in days)
    key = tables.table("bars").key
    wanted = {"session": Between(first, end), "sequence": sequences, "instrument": instruments}
    for names in (["session"], ["sequence"], ["instrument", "session"], [*wanted]):
        meant = {
            "session": (pl.col("session") >= first) & (pl.col("session") < end),
            "sequence": pl.col("sequence").is_in(sequences),
            "instrument": pl.col("instrument").is_in(instruments),
        }
        expected = rows.filter(*(meant[name] for name in names)).sort(key)
        assert_frame_equal(lake.read("bars", **{name: wanted[name] for name in names}).sort(key), expected)


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, pl.DataFrame]:
    lake = Lake(root=str(tmp_path_factory.mktemp("lake")), lock_path="")
    written = [
        bars(DAYS[start : start + 2], instrument=name).with_columns(sequence=pl.lit(sequence, pl.Int64))
        for sequence, (start, name) in enumerate(product((0, 4, 7), ("A.TEST", "B.TEST")), start=1)
    ]
    for rows in written:
        lake.append("bars", rows)
    return lake, pl.concat(written)


SMALL_FILES, COMMITS = 4, 3


@pytest.fixture
def soon_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.lake.SMALL_FILES", SMALL_FILES)


def small_files(lake: Lake, *, n: int = SMALL_FILES, instrument: str = "ONE.TEST") -> None:
    for day in range(n):
        lake.append("bars", bars([DAYS[0] + timedelta(days=day)], instrument=instrument))


@pytest.mark.usefixtures("soon_folded")
def test_many_small_files_are_folded_into_one_and_every_row_stays(lake: Lake) -> None:
    small_files(lake)
    small_files(lake, n=2, instrument="QUIET.TEST")
    before = held(lake, "bars")
    assert lake.compact("bars") == SMALL_FILES - 1
    assert_frame_equal(held(lake, "bars"), before)
    files = lake.files("bars")
    assert sum("ONE.TEST" in file for file in files) == 1
    assert sum("QUIET.TEST" in file for file in files) == 2, "few files are left as they are"


@pytest.mark.usefixtures("soon_folded")
def test_folding_twice_changes_nothing(lake: Lake) -> None:
    small_files(lake)
    lake.compact("bars")
    before = lake.version("bars")
    assert lake.compact("bars") == 0
    assert lake.version("bars") == before
    assert lake.compact("digests") == 0, "a table that was never written"


@pytest.mark.usefixtures("soon_folded")
def test_a_table_without_partitions_is_folded_as_a_whole(lake: Lake) -> None:
    days = [DAYS[0] + timedelta(days=n) for n in range(SMALL_FILES)]
    for day in days:
        lake.append("digests", digests([day]))
    assert lake.compact("digests") == SMALL_FILES - 1
    assert_frame_equal(held(lake), digests(days))


@pytest.mark.usefixtures("soon_folded")
def test_what_left_the_table_long_ago_is_deleted_and_nothing_else(lake: Lake) -> None:
    small_files(lake)
    lake.compact("bars")
    rows, left = held(lake, "bars"), parquet_files(lake)
    assert lake.vacuum("bars", older_than=timedelta(days=7), in_use=()) == 0
    assert parquet_files(lake) == left
    assert lake.vacuum("bars", older_than=timedelta(0), in_use=()) == SMALL_FILES
    assert parquet_files(lake) == {Path(file) for file in lake.files("bars")}
    assert_frame_equal(held(lake, "bars"), rows)
    assert lake.vacuum("bars", older_than=timedelta(0), in_use=()) == 0, "nothing is left to delete"


def test_nothing_is_deleted_while_a_warehouse_refers_to_some_of_it(lake: Lake) -> None:
    lake.replace("bars", bars(DAYS), dataset="small")
    shown = lake.files("bars")
    lake.replace("bars", bars(DAYS, n=2), dataset="small")
    assert lake.vacuum("bars", older_than=timedelta(0), in_use=shown) == 0
    assert all(Path(file).is_file() for file in shown)
    assert lake.vacuum("bars", older_than=timedelta(0), in_use=lake.files("bars")) == 1


def test_what_a_killed_write_left_behind_is_deleted_once_it_is_old(lake: Lake) -> None:
    lake.replace("bars", bars(DAYS), dataset="small")
    (whole,) = lake.files("bars")
    old, young = (Path(whole).with_name(f"part-{name}.parquet") for name in ("old", "young"))
    for leftover in (old, young):
        leftover.write_bytes(Path(whole).read_bytes()[:100])
    weeks_ago = old.stat().st_mtime - timedelta(days=20).total_seconds()
    os.utime(old, (weeks_ago, weeks_ago))
    assert lake.vacuum("bars", older_than=timedelta(days=7), in_use=()) == 1
    assert not old.exists()
    assert young.exists(), "somebody may be writing it"
    assert held(lake, "bars").height == len(DAYS)


@pytest.mark.parametrize("name", ["raw_bars", "receipts"])
def test_what_all_else_is_made_from_is_never_vacuumed(lake: Lake, name: str) -> None:
    with pytest.raises(LakeError, match=f"'{name}' keeps what it ever held"):
        lake.vacuum(name, older_than=timedelta(days=7), in_use=())


@pytest.mark.usefixtures("soon_folded")
@pytest.mark.parametrize("folder", ["it's a home", "100% of it", "ü#*{a,b}"])
def test_maintenance_works_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    lake = Lake(root=str(tmp_path / folder), lock_path="")
    for day in range(SMALL_FILES):
        for name in ("o'clock 5%", "zür=1"):
            one = bars([DAYS[0] + timedelta(days=day)], dataset=name, instrument="A/B %20'[x]")
            lake.append("bars", one)
    before = held(lake, "bars")
    assert lake.compact("bars") == 2 * (SMALL_FILES - 1)
    assert lake.vacuum("bars", older_than=timedelta(0), in_use=()) == 2 * SMALL_FILES
    assert_frame_equal(held(lake, "bars"), before)


def test_a_checkpoint_is_made_once_there_are_commits_to_save(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.lake.COMMITS", COMMITS)
    last = lake.path("digests") / "_delta_log" / "_last_checkpoint"
    for day in range(COMMITS):
        lake.append("digests", digests([DAYS[0] + timedelta(days=day)]))
        lake.checkpoint("digests")
        assert last.exists() == (lake.version("digests") >= COMMITS)
    lake.append("digests", digests([DAYS[0] - timedelta(days=1)]))
    before = last.read_text()
    lake.checkpoint("digests")
    assert last.read_text() == before
    assert held(lake).height == COMMITS + 1


def test_what_somebody_else_wrote_is_seen_at_once(lake: Lake) -> None:
    lake.append("digests", digests(DAYS[:1]))
    writer = threading.Thread(target=lake.append, args=("digests", digests(DAYS[1:2])))
    writer.start()
    writer.join()
    assert_frame_equal(held(lake), digests(DAYS[:2]))


def test_a_lake_that_was_thrown_away_and_made_again_is_another_one(lake: Lake) -> None:
    for day in DAYS:
        lake.append("digests", digests([day]))
    shutil.rmtree(lake.root)
    assert lake.version("digests") == -1
    assert lake.read("digests").is_empty()
    lake.append("digests", digests(DAYS[:1]))
    assert_frame_equal(held(lake), digests(DAYS[:1]))


@pytest.mark.slow
def test_readers_never_see_half_a_window_while_it_is_written_folded_and_cleared(lake: Lake) -> None:
    lake.replace("bars", bars(DAYS), dataset="small")
    seen: set[int] = set()
    failed: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                rows = lake.read("bars", dataset="small")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test is to see it
                failed.append(error)
                return
            seen.add(rows.height)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in (2, 1, 3):
        lake.replace("bars", bars(DAYS, n=n), dataset="small")
        lake.replace("bars", bars(DAYS[:5], n=n), dataset="small", session=DAYS[:5])
        lake.compact("bars")
        lake.vacuum("bars", older_than=timedelta(days=7), in_use=())
    done.set()
    for reader in readers:
        reader.join()
    assert failed == []
    assert seen <= {n * len(DAYS) for n in (1, 2, 3)}


def parquet_files(lake: Lake) -> set[Path]:
    return set(lake.path("bars").rglob("*.parquet")) - set(lake.path("bars").rglob("_delta_log/*"))


class Unaware(Lake):
    """A writer that looked just before another process made the table."""

    def exists(self, name: str) -> bool:  # noqa: ARG002 - the signature is the lake's
        return False


def test_a_first_write_does_not_take_what_another_process_wrote_first(lake: Lake) -> None:
    lake.replace("digests", digests(DAYS, dataset="other"), dataset="other")
    Unaware(root=lake.root, lock_path="").replace("digests", digests(DAYS), dataset="small")
    assert_frame_equal(held(lake), pl.concat([digests(DAYS, dataset="other"), digests(DAYS)]))


@pytest.mark.slow
def test_processes_that_write_different_windows_at_once_lose_nothing(lake: Lake) -> None:
    names = ["a", "b", "c"]
    command = [sys.executable, "-c", WRITER, lake.root]
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([*command, name], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in names
    ]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == [b"ready\n"] * 3
    for writer in writers:
        writer.communicate(b"go\n")
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert_frame_equal(held(lake), pl.concat([digests(DAYS[:4], dataset=name) for name in names]))


def test_a_column_whose_type_has_changed_is_read_as_the_new_one_and_written_anew(lake):
    from deltalake import DeltaTable, write_deltalake

    before = digests(DAYS[:2]).with_columns(n_bars=pl.Series([1.0, 2.0]))
    write_deltalake(str(lake.path("digests")), before.to_arrow(), partition_by=["dataset"])
    assert lake.read("digests").schema["n_bars"] == tables.table("digests").columns["n_bars"]
    lake.replace("digests", digests(DAYS[2:3]), dataset="small", session=DAYS[2])
    assert lake.read("digests").sort("session")["n_bars"].to_list() == [1, 2, 1]
    assert pl.Schema(DeltaTable(str(lake.path("digests"))).schema())["n_bars"] == pl.Int32
    lake.replace("digests", digests(DAYS[3:4]), dataset="small", session=DAYS[3])
    assert lake.version("digests") == 3  # as it was, anew, and each of the two writes


@pytest.mark.parametrize("name", tables.TABLES)
def test_no_table_is_held_in_another_type_than_it_was_written_in(lake, name):
    from deltalake import DeltaTable

    DeltaTable.create(str(lake.path(name)), tables.empty(name).to_arrow().schema)
    held = pl.Schema(DeltaTable(str(lake.path(name))).schema())
    assert {column: held[column] for column in held} == tables.table(name).columns
