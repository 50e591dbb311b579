"""The lake: a write owns its window, wholly and alone."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
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
        {"dataset": dataset, "session": day, "instrument": "ONE.TEST", "digest": digest, "n_bars": 1} for day in days
    ]
    return tables.frame("digests", rows)


def held(lake: Lake, name: str = "digests") -> pl.DataFrame:
    return lake.read(name).sort(*tables.table(name).key)


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
    price = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 10.0}
    row = {"session": DAYS[0], "ts": datetime(2020, 1, 1, tzinfo=UTC), "sequence": 1, "instrument": "ONE.TEST", **price}
    for name in ("small", "other"):
        lake.replace("bars", tables.frame("bars", [{"dataset": name, **row}]), dataset=name)
    for file in lake.files("bars"):
        if "dataset=other" in file:
            Path(file).unlink()
    assert lake.read("bars", dataset="small").height == 1


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
