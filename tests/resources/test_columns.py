"""Columns kept on the disk: whatever was kept before, the answer is that of computing it now."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.causal import Bars, Column, derived, kernel, rank
from engine.evaluation import Frames, evaluate
from engine.indicators import atr, ema, sma
from resources.columns import Columns
from tests.bar_frames import random_walk

BARS = Bars("1h")
SMA = sma(BARS.close, 5)
ROOT = Path(__file__).parents[2]
Market = dict[str, dict[str, pl.DataFrame]]


def drawn(seed: int = 0, n: int = 60) -> Market:
    """Two instruments' bars of an hour and of four."""
    return {
        name: {timeframe: random_walk(timeframe, n // hours, seed=seed + more) for timeframe, hours in KNOWN.items()}
        for more, name in enumerate(("A", "B"))
    }


KNOWN = {"1h": 1, "4h": 4}


def kept(folder: Path, market: Market, **more: int | str) -> Columns:
    told = {"least_bars": 1, "code": "as it is", **more}
    return Columns(folder / "columns", market, peers=["A", "B"], **told)  # type: ignore[arg-type]


def values(column: Column, market: Market, memo: Columns | None = None, of: str = "A") -> pl.Series:
    frames: Frames = market[of]
    return evaluate({"it": column}, frames, "1h", instrument=of, others=market, peers=["A", "B"], memo=memo)["it"]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "columns").iterdir())


def changed(market: Market, of: str, timeframe: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Market:
    return {**market, of: {**market[of], timeframe: change(market[of][timeframe])}}


def with_bar(n: int, **prices: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """The frame with other prices in its bar `n`."""
    row = pl.int_range(pl.len()) == n
    return lambda frame: frame.with_columns(
        pl.when(row).then(pl.lit(price)).otherwise(name).alias(name) for name, price in prices.items()
    )


def test_what_was_computed_once_is_read_the_next_time(tmp_path: Path) -> None:
    market = drawn()
    first, second = kept(tmp_path, market), kept(tmp_path, market)
    computed, read = values(SMA, market, first), values(SMA, market, second)
    assert computed.equals(read, check_dtypes=True)
    assert computed.equals(values(SMA, market))
    assert computed.null_count() == 4
    assert first.counts == {"columns_read": 0, "columns_computed": 1}
    assert second.counts == {"columns_read": 1, "columns_computed": 0}


def test_within_one_run_the_disk_is_asked_once(tmp_path: Path) -> None:
    market = drawn()
    values(SMA, market, kept(tmp_path, market))
    memo = kept(tmp_path, market)
    for level in range(3):
        values(level < SMA, market, memo)
    assert memo.counts == {"columns_read": 1, "columns_computed": 0}


@pytest.mark.parametrize(
    ("column", "change"),
    [
        pytest.param(SMA, with_bar(59, close=7.0), id="the last bar is restated"),
        pytest.param(SMA, with_bar(0, close=7.0), id="the first bar is restated"),
        pytest.param(SMA, lambda frame: frame.head(59), id="the last bar is cut off"),
        pytest.param(SMA, lambda frame: frame.tail(59), id="the first bar is cut off"),
        pytest.param(SMA, lambda frame: frame.filter(pl.int_range(pl.len()) != 30), id="one in the middle is missing"),
        pytest.param(SMA, lambda frame: frame.with_columns(pl.col("known_at") + timedelta(1)), id="known later"),
        pytest.param(SMA, lambda frame: frame.with_columns(close=pl.lit(None, pl.Float64)), id="nothing is known"),
        pytest.param(atr(BARS, 5), with_bar(59, high=700.0), id="another of its columns is restated"),
        pytest.param(BARS.new_session.rolling_count(5), lambda frame: frame.with_columns(session="ts"), id="session"),
    ],
)
def test_another_history_never_meets_what_was_kept_of_this_one(tmp_path: Path, column: Column, change) -> None:
    market = drawn()
    values(column, market, kept(tmp_path, market))
    other = changed(market, "A", "1h", change)
    memo = kept(tmp_path, other)
    assert values(column, other, memo).equals(values(column, other), null_equal=True)
    assert memo.hits == 0


@pytest.mark.parametrize(
    ("column", "of", "timeframe"),
    [
        pytest.param(sma(BARS.close - BARS.of("B").close, 5), "B", "1h", id="another instrument"),
        pytest.param(sma(BARS.close - BARS.on("4h").close, 5), "A", "4h", id="a longer timeframe"),
        pytest.param(rank(BARS.close), "B", "1h", id="across instruments"),
        pytest.param(rank(BARS.close - BARS.on("4h").close), "B", "4h", id="another one's longer timeframe"),
    ],
)
def test_what_it_read_of_others_counts_too(tmp_path: Path, column: Column, of: str, timeframe: str) -> None:
    market = drawn()
    values(column, market, kept(tmp_path, market))
    again = kept(tmp_path, market)
    values(column, market, again)
    assert again.misses == 0
    other = changed(market, of, timeframe, lambda frame: frame.with_columns(pl.col("close") + 1))
    memo = kept(tmp_path, other)
    assert values(column, other, memo).equals(values(column, other))
    assert memo.misses > 0


def test_a_column_that_does_not_read_what_changed_is_read(tmp_path: Path) -> None:
    market = drawn()
    values(SMA, market, kept(tmp_path, market))
    other = changed(market, "A", "1h", with_bar(59, volume=7.0))
    memo = kept(tmp_path, other)
    values(SMA, other, memo)
    assert memo.counts == {"columns_read": 1, "columns_computed": 0}


@pytest.mark.parametrize(
    "other",
    [pytest.param(sma(BARS.close, 6), id="a parameter"), pytest.param(ema(BARS.close, 5), id="an indicator")],
)
def test_another_column_is_another_file(tmp_path: Path, other: Column) -> None:
    market = drawn()
    values(SMA, market, kept(tmp_path, market))
    memo = kept(tmp_path, market)
    assert values(other, market, memo).equals(values(other, market))
    assert memo.hits == 0


def test_what_reads_one_instrument_is_the_same_among_others(tmp_path: Path) -> None:
    market = drawn()
    for column in (SMA, rank(BARS.close)):
        values(column, market, kept(tmp_path, market))
    memo = Columns(tmp_path / "columns", market, peers=["B", "A"], least_bars=1, code="as it is")
    for column in (SMA, rank(BARS.close)):
        values(column, market, memo)
    assert memo.counts == {"columns_read": 1, "columns_computed": 1}


def test_a_rank_among_other_members_is_another_file(tmp_path: Path) -> None:
    market = drawn()
    sessions = market["A"]["1h"]["session"].unique()
    for who in (None, ["A"], ["A", "B"], ["A"]):
        members = (
            None
            if who is None
            else pl.DataFrame({"session": sessions}).join(pl.DataFrame({"instrument": who}), how="cross")
        )
        memo = Columns(tmp_path / "columns", market, peers=["A", "B"], members=members, least_bars=1, code="as it is")
        told = {"instrument": "A", "others": market, "peers": ["A", "B"], "members": members}
        computed = evaluate({"it": rank(BARS.close)}, market["A"], "1h", **told)
        assert evaluate({"it": rank(BARS.close)}, market["A"], "1h", **told, memo=memo).equals(computed)
    assert memo.counts == {"columns_read": 1, "columns_computed": 0}
    assert len(files(tmp_path)) == 3


def test_other_code_computes_again(tmp_path: Path) -> None:
    market = drawn()
    values(SMA, market, kept(tmp_path, market))
    memo = kept(tmp_path, market, code="edited")
    values(SMA, market, memo)
    assert memo.counts == {"columns_read": 0, "columns_computed": 1}


def test_by_default_the_code_is_the_projects_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = drawn()
    for code in ("sha256:one", "sha256:two"):
        monkeypatch.setattr("resources.columns.numbers_hash", lambda code=code: code)
        values(SMA, market, Columns(tmp_path / "columns", market, peers=["A"], least_bars=1))
    assert len(files(tmp_path)) == 2


DAMAGE = [
    pytest.param(lambda content: b"", id="empty"),
    pytest.param(lambda content: content[:20], id="shorter than its digest"),
    pytest.param(lambda content: content[:-1], id="a byte short"),
    pytest.param(lambda content: content[:-8], id="a bar short"),
    pytest.param(lambda content: content + bytes(8), id="a bar too long"),
    pytest.param(lambda content: bytes([content[0] ^ 1]) + content[1:], id="a bit of the digest"),
    pytest.param(lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:], id="a bit of a value"),
    pytest.param(lambda content: bytes(len(content)), id="zeros"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_a_miss_and_made_good(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    market = drawn()
    expected = values(SMA, market, kept(tmp_path, market))
    (file,) = files(tmp_path)
    good = file.read_bytes()
    file.write_bytes(damage(good))
    memo = kept(tmp_path, market)
    assert values(SMA, market, memo).equals(expected)
    assert memo.counts == {"columns_read": 0, "columns_computed": 1}
    assert file.read_bytes() == good


def test_a_file_under_anothers_name_is_a_miss(tmp_path: Path) -> None:
    market, memo = drawn(), kept(tmp_path, drawn())
    values(SMA, market, memo)
    values(ema(BARS.close, 5), market, memo)
    one, other = files(tmp_path)
    one.replace(other)
    memo = kept(tmp_path, market)
    for column in (SMA, ema(BARS.close, 5)):
        assert values(column, market, memo).equals(values(column, market))
    assert memo.hits == 0


def doubled(closes: np.ndarray) -> np.ndarray:
    return 2 * closes


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(kernel(doubled, BARS.close, name="doubled"), id="a kernel"),
        pytest.param(derived(lambda x: 2 * x, BARS.close, name="doubled", shared=True), id="an expression"),
        pytest.param(sma(derived(lambda x: 2 * x, BARS.close, name="doubled"), 5), id="what is made of it"),
    ],
)
def test_what_code_of_others_made_is_remembered_but_not_kept(tmp_path: Path, column: Column) -> None:
    """The hash of the project's code does not cover a user's."""
    market, memo = drawn(), kept(tmp_path, drawn())
    for _ in range(2):
        values(column, market, memo)
    assert memo.counts == {"columns_read": 0, "columns_computed": 1}
    assert not (tmp_path / "columns").exists()


def test_what_is_made_of_few_bars_is_not_kept(tmp_path: Path) -> None:
    market = drawn()
    values(SMA, market, kept(tmp_path, market, least_bars=61))
    assert not (tmp_path / "columns").exists()
    values(rank(BARS.close), market, kept(tmp_path, market, least_bars=61))  # of sixty bars of two instruments
    assert len(files(tmp_path)) == 1


def test_truths_and_what_is_not_a_number_are_not_kept(tmp_path: Path) -> None:
    memo = kept(tmp_path, drawn())
    memo.put("A", SMA, pl.Series([True, False]))
    memo.put("A", SMA, pl.Series([1.0, float("nan")]))
    assert not (tmp_path / "columns").exists()
    assert memo.get("A", SMA).to_list()[0] == 1.0  # type: ignore[union-attr]


def test_the_folder_keeps_its_bound_and_what_was_asked_for_last(tmp_path: Path) -> None:
    market = drawn()
    size = 60 * 8 + 32
    lengths = range(2, 22)
    for length in lengths:
        values(sma(BARS.close, length), market, kept(tmp_path, market, disk_bytes=10 * size))
        values(sma(BARS.close, 2), market, kept(tmp_path, market, disk_bytes=10 * size))
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 10 * size
    memo = kept(tmp_path, market)
    for length in (2, 3, 21):
        values(sma(BARS.close, length), market, memo)
    assert memo.counts == {"columns_read": 2, "columns_computed": 1}


def test_leftovers_of_a_killed_process_go_with_the_rest(tmp_path: Path) -> None:
    market = drawn()
    (tmp_path / "columns").mkdir()
    leftover = tmp_path / "columns" / "ab12.part"
    leftover.write_bytes(bytes(10_000))
    os.utime(leftover, (0, 0))
    values(SMA, market, kept(tmp_path, market, disk_bytes=5_000))
    assert not leftover.exists()
    assert len(files(tmp_path)) == 1


def test_what_memory_has_no_room_for_is_read_again(tmp_path: Path) -> None:
    market, memo = drawn(), kept(tmp_path, drawn(), memory_bytes=1_000)
    for length in (2, 3, 4, 2):
        values(sma(BARS.close, length), market, memo)
    assert memo.counts == {"columns_read": 1, "columns_computed": 3}


def test_where_nothing_can_be_written_everything_is_computed(tmp_path: Path) -> None:
    market = drawn()
    (tmp_path / "columns").write_text("a file, and no folder")
    assert values(SMA, market, kept(tmp_path, market)).equals(values(SMA, market))
    assert [file.name for file in tmp_path.iterdir()] == ["columns"]


COLUMNS = [
    SMA,
    ema(BARS.close, 5),
    atr(BARS, 5),
    sma(BARS.close - BARS.of("B").close, 4),
    sma(BARS.on("4h").close, 3),
    sma(sma(BARS.volume, 3), 3),
    rank(BARS.close),
    rank(sma(BARS.close, 3)),
]
CHANGES = st.tuples(
    st.sampled_from(["A", "B"]),
    st.sampled_from(["1h", "4h"]),
    st.sampled_from(
        [
            with_bar(3, close=7.0),
            with_bar(3, volume=7.0),
            lambda frame: frame.head(frame.height - 1),
            lambda frame: frame.filter(pl.int_range(pl.len()) != 5),
        ]
    ),
)


@given(st.lists(st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["A", "B"]), CHANGES), max_size=12))
@pytest.mark.slow
def test_whatever_was_kept_the_answer_is_that_of_computing_it(asked: list) -> None:
    with TemporaryDirectory() as folder:
        market = drawn(n=24)
        for column, of, change in asked:
            for memo in (kept(Path(folder), market), kept(Path(folder), market)):
                assert values(column, market, memo, of).equals(values(column, market, of=of), null_equal=True)
            market = changed(market, *change)


ANOTHER_PROCESS = """
from pathlib import Path
from tests.resources.test_columns import COLUMNS, drawn, kept, values
market = drawn()
memo = kept(Path({folder!r}), market)
for column in COLUMNS:
    values(column, market, memo)
"""


@pytest.mark.slow
def test_processes_that_write_at_once_leave_what_any_other_reads(tmp_path: Path) -> None:
    code = ANOTHER_PROCESS.format(folder=str(tmp_path))
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)})
        for seed in range(2)
    ]
    assert [process.wait() for process in started] == [0, 0]
    market = drawn()
    memo = kept(tmp_path, market)
    for column in COLUMNS:
        assert values(column, market, memo).equals(values(column, market))
    assert memo.misses == 0
    assert all(len(file.name) == 64 for file in files(tmp_path))  # nothing half-written is left
