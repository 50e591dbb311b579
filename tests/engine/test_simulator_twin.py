"""The kernel against its slow twin, on random scenarios with gaps, jumps, actions, stops, ladders and two instruments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.costs import FeePeriod, FeeTier
from engine.simulator.inputs import Decisions, Exits, Instrument, Market, Rules, Size, Stop, Target
from engine.simulator.simulation import simulate
from engine.simulator.words import REASONS, WHY
from tests.oracles import simulated

HOUR = 3_600_000_000
TICKS = st.integers(0, 6)
LADDERS = ((), ((1.0, 1.0),), ((1.0, 0.4), (2.5, 0.4)), ((0.5, 0.3), (1.0, 0.3), (1.5, 0.4)))


@st.composite
def bars(draw, before):
    """A bar around the close before it, in half units, so that levels are met exactly; now and then an action."""
    split = draw(st.sampled_from([1.0] * 12 + [2.0, 0.5, 1.5, 0.1]))
    units = max(8, round(before / split * 2) + draw(st.integers(-6, 6)))
    closes = max(8, units + draw(st.integers(-6, 6)))
    signal = draw(st.sampled_from(["", "", "enter_long", "enter_short", "exit_long", "exit_short", "all", "flip"]))
    return {
        "open": units / 2,
        "high": (max(units, closes) + draw(TICKS)) / 2,
        "low": max(1, min(units, closes) - draw(TICKS)) / 2,
        "close": closes / 2,
        "split": split,
        "dividend": draw(st.sampled_from([0.0] * 8 + [0.25])),
        "enter_long": signal in ("enter_long", "all"),
        "enter_short": signal in ("enter_short", "all", "flip"),
        "exit_long": signal in ("exit_long", "flip"),
        "exit_short": signal == "exit_short",
        "embargoed": draw(st.sampled_from([False] * 9 + [True])),
        "stop_distance": draw(st.sampled_from([None, 0.0, 0.25, 1.0, 2.0, 2.3, 4.0, 6.0])),
    }


@st.composite
def series(draw, n_bars):
    before, row = 50.0, []
    for _ in range(n_bars):
        bar = None if draw(st.integers(0, 9)) == 0 else draw(bars(before))
        before = bar["close"] if bar else before
        row.append(bar)
    return row


@st.composite
def scenarios(draw):
    n_bars, n_instruments = draw(st.integers(2, 24)), draw(st.integers(1, 2))
    hours = draw(st.sampled_from([1, 24, 24 * 7]))
    columns = [draw(series(n_bars)) for _ in range(n_instruments)]
    size, amount = draw(
        st.sampled_from(
            [("units", 7.0), ("notional", 300.0), ("equity_share", 0.45), ("equity_share", 1.0)]
            + [("risk_per_trade", 0.02)] * 3
        )
    )
    stop = size == "risk_per_trade" or draw(st.booleans())
    ladder = draw(st.sampled_from(LADDERS)) if stop else ()
    later = draw(st.integers(1, n_bars)) * hours * HOUR
    return {
        "ts": [t * hours * HOUR for t in range(n_bars)],
        "known_at": [(t + 1) * hours * HOUR for t in range(n_bars)],
        "bars": [list(row) for row in zip(*columns, strict=True)],
        "instruments": [
            {
                "id": f"I{i}",
                "tick": draw(st.sampled_from([0.01, 0.1, 0.5])),
                "lot": draw(st.sampled_from([0.001, 0.1, 1.0, 3.0])),
                "min_notional": draw(st.sampled_from([0.0, 100.0])),
                "half_spread_bps": draw(st.sampled_from([0.0, 5.0, 200.0])),
                "shortable": draw(st.sampled_from([True, True, False])),
            }
            for i in range(n_instruments)
        ],
        "rules": {
            "cash": 1000.0,
            "size": size,
            "amount": amount,
            "cap": draw(st.sampled_from([0.3, 1.0])),
            "fees": [(0, 0.0, 10.0, 20.0), (0, 600.0, 5.0, 15.0), (later, 0.0, -1.0, 9.0), (later, 900.0, 0.0, 3.0)],
            "borrow_bps_per_day": draw(st.sampled_from([0.0, 3.0])),
            "stop": stop,
            "targets": ladder,
            "break_even_after_first": bool(ladder) and draw(st.booleans()),
            "limit_fill": draw(st.sampled_from(["trade_through", "touch"])),
            "path": draw(st.sampled_from(["adverse", "favourable"])),
            "close_at_end": draw(st.booleans()),
        },
    }


def column(scenario, name, *, missing, dtype=float):
    values = [[missing if bar is None else bar[name] for bar in row] for row in scenario["bars"]]
    return np.array([[np.nan if value is None else value for value in row] for row in values], dtype=dtype)


def kernel(scenario):
    """The same scenario through the code under test."""
    rules = dict(scenario["rules"])
    starts = sorted({start for start, *_ in rules["fees"]})
    fees = tuple(
        FeePeriod(begin, tuple(FeeTier(*tier) for start, *tier in rules["fees"] if start == begin)) for begin in starts
    )
    size = Size(rules.pop("size"), rules.pop("amount"), rules.pop("cap"))
    exits = Exits(
        stop=Stop(distances=True) if rules.pop("stop") else None,
        targets=tuple(Target(*target) for target in rules.pop("targets")),
        break_even_after=1 if rules.pop("break_even_after_first") else None,
    )
    return simulate(
        Market(
            np.array(scenario["ts"]),
            np.array(scenario["known_at"]),
            *(column(scenario, name, missing=np.nan) for name in ("open", "high", "low", "close")),
            column(scenario, "split", missing=1.0),
            column(scenario, "dividend", missing=0.0),
        ),
        Decisions(
            *(
                column(scenario, name, missing=False, dtype=bool)
                for name in ("enter_long", "exit_long", "enter_short", "exit_short")
            ),
            column(scenario, "stop_distance", missing=np.nan),
            column(scenario, "embargoed", missing=False, dtype=bool),
        ),
        [Instrument(**instrument) for instrument in scenario["instruments"]],
        Rules(**{**rules, "size": size, "fees": fees, "exits": exits}),
    )


def near(values):
    return pytest.approx(values, rel=1e-9, abs=1e-9, nan_ok=True)


@given(scenarios())
def test_kernel_and_twin_agree_on_every_fill_trade_and_cent(scenario):
    seen, expected = kernel(scenario), simulated(scenario)

    exact = ("order", "trade", "bar", "instrument", "side", "quantity", "maker", "ambiguous")
    assert [tuple(fill[list(exact)]) for fill in seen.fills] == [
        tuple(fill[name] for name in exact) for fill in expected["fills"]
    ]
    assert [REASONS[why] for why in seen.fills["why"]] == [fill["why"] for fill in expected["fills"]]
    for name in ("price", "reference", "fee", "spread"):
        assert seen.fills[name].tolist() == near([fill[name] for fill in expected["fills"]])

    for name in ("id", "instrument", "side", "entry_bar", "exit_bar", "ambiguous"):
        assert seen.trades[name].tolist() == [trade[name] for trade in expected["trades"]]
    assert [REASONS[why] for why in seen.trades["exit_reason"]] == [t["exit_reason"] for t in expected["trades"]]
    money = ("quantity", "entry_price", "exit_price", "pnl", "edge", "fees", "spread", "borrow", "dividends")
    for name in money:
        assert seen.trades[name].tolist() == near([trade[name] for trade in expected["trades"]])
    assert seen.trades["r"].tolist() == near([np.nan if t["r"] is None else t["r"] for t in expected["trades"]])
    assert seen.ambiguous_trades == sum(trade["ambiguous"] for trade in expected["trades"])

    rejected = [(*row[["order", "bar", "instrument", "side"]], REJECTIONS[row["reason"]]) for row in seen.rejections]
    assert rejected == [(*row[:4], row[5]) for row in expected["rejections"]]
    assert seen.rejections["quantity"].tolist() == near(
        [np.nan if row[4] is None else row[4] for row in expected["rejections"]]
    )
    assert seen.equity.tolist() == near(expected["equity"])
    assert seen.cash.tolist() == near(expected["cash"])
