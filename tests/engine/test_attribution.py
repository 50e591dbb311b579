"""The parts explain the change in equity; a record that is wrong leaves something unexplained."""

import polars as pl
import pytest

from engine.attribution import SIGNS, attribution

TRADE = {"trade": "t-000001", "pnl": 9.0, **dict.fromkeys(SIGNS, 0.0), "edge": 12.0, "fees": 2.0, "spread": 1.0}
OPEN = {**TRADE, "trade": "t-000002", "pnl": -4.0, "edge": -5.0, "fees": 1.0, "spread": 0.0, "dividends": 2.0}
FILLS = pl.DataFrame({"quantity": [1.0, 1.0, 2.0], "price": [100.0, 112.0, 50.0]})


def split(trades=(TRADE,), positions=(OPEN,), *, equity=1_005.0):
    schema = {name: pl.String if name == "trade" else pl.Float64 for name in TRADE}
    frames = [pl.DataFrame(list(rows), schema=schema) for rows in (trades, positions)]
    return attribution(*frames, FILLS, cash=1_000.0, equity=equity)


def test_closed_trades_and_open_positions_add_up_to_the_change_in_equity() -> None:
    found = split()
    assert found.holds
    assert found.parts == {**dict.fromkeys(SIGNS, 0), "edge": 7, "fees": -3, "spread": -1, "dividends": 2}
    assert (found.change, found.unexplained, found.scale) == (5, 0, 1_000)


@pytest.mark.parametrize(
    ("trades", "positions"),
    [
        pytest.param([], [OPEN], id="a trade that was lost"),
        pytest.param([TRADE, TRADE], [OPEN], id="a trade that stands twice"),
        pytest.param([TRADE], [], id="a position that was lost"),
        pytest.param([{**TRADE, "fees": 2.1, "pnl": 8.9}], [OPEN], id="a fee that nobody paid"),
        pytest.param([{**TRADE, "edge": float("nan")}], [OPEN], id="a part that is no number"),
    ],
)
def test_a_broken_record_leaves_something_unexplained(trades, positions) -> None:
    found = split(trades, positions)
    assert not found.holds
    assert not abs(found.unexplained) <= 1e-6


def test_a_trade_that_its_own_parts_do_not_explain_is_named() -> None:
    found = split([{**TRADE, "pnl": 9.5}])
    assert found.unexplained == 0
    assert not found.holds
    assert found.worst_trade == "t-000001"


def test_what_floats_lose_is_no_difference() -> None:
    assert split(equity=1_005.0 + 0.9e-6).holds
    assert not split(equity=1_005.0 + 1.1e-6).holds
