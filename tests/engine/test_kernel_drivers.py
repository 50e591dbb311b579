"""The compiled loops around the step: gliding over quiet bars, sleeves, sweeps, bar by bar; and what is kept of compiling."""

import numpy as np
import pytest

from engine.costs import FeePeriod, FeeTier
from engine.simulator.drivers import Live, run, run_every_bar, run_sleeves, run_sweep
from engine.simulator.inputs import (
    DEFAULT_LADDER,
    Decisions,
    Exits,
    Funding,
    Guards,
    Instrument,
    Market,
    Rules,
    Size,
    Stop,
    Trail,
)
from engine.simulator.packing import desk_of, logs_of, tape_of, with_signals

N_BARS, BAR_US = 1500, 300_000_000
ROOM = (4000, 2000, 8000)
FEES = (FeePeriod(0, (FeeTier(0, 2, 5), FeeTier(5e6, 1, 4))),)
STOPS = (None, Stop(pct=0.02), Stop(atr=3.0, length=14))
TRAILS = (None, None, Trail(pct=0.015), Trail(atr=2.5, length=14))


def column(values):
    return np.ascontiguousarray(values.reshape(-1, 1))


def some(random, value, *, share=0.4):
    return value if random.random() < share else None


def market_and_signals(random):
    step = random.choice([1e-3, 4e-3, 1e-2])
    closes = np.round(100 * np.exp(np.cumsum(random.normal(0, step, N_BARS))), 2)
    opens = np.append(closes[:1], closes[:-1])
    opens *= np.where(random.random(N_BARS) < 0.02, 1 + random.normal(0, step, N_BARS), 1.0)
    highs = np.maximum(opens, closes) * (1 + np.abs(random.normal(0, step / 3, N_BARS)))
    lows = np.minimum(opens, closes) * (1 - np.abs(random.normal(0, step / 3, N_BARS)))
    absent = random.random(N_BARS) < random.choice([0.0, 0.02])
    for prices in (opens, highs, lows, closes):
        prices[absent] = np.nan
    ts, marked = np.arange(N_BARS) * BAR_US, random.random() < 0.5
    market = Market(
        ts,
        ts + BAR_US,
        *(column(prices) for prices in (opens, highs, lows, closes)),
        splits=np.where(column(~absent & (random.random(N_BARS) < 0.0005)), 2.0, 1.0),
        dividends=np.zeros((N_BARS, 1)),
        volumes=some(random, column(random.random(N_BARS) * 1e6)),
        mark_opens=column(opens) if marked else None,
        mark_highs=column(highs * 1.0001) if marked else None,
        mark_lows=column(lows * 0.9999) if marked else None,
        mark_closes=column(closes) if marked else None,
        funding=[Funding(int(at), 0, 1e-4, 100.0) for at in ts[::96]] if random.random() < 0.5 else (),
    )
    signals = [column((random.random(N_BARS) < often) & ~absent) for often in (0.02, 0.01, 0.01, 0.01)]
    no = np.zeros((N_BARS, 1), bool)
    return market, Decisions(*signals, np.full((N_BARS, 1), np.nan), no)


def world(seed):
    """A tape of one instrument, everything about it drawn."""
    random = np.random.default_rng(seed)
    market, decisions = market_and_signals(random)
    kind = str(random.choice(["spot", "linear", "inverse"]))
    levered = kind != "spot" and market.mark_opens is not None
    instrument = Instrument(
        *("X", 0.01, 0.0001, 0.0, 1.0),
        kind=kind,
        leverage=float(random.choice([1.0, 5.0, 20.0])) if levered else 1.0,
        liquidation="bybit_inverse" if kind == "inverse" else "bybit_linear",
    )
    stop = STOPS[random.integers(len(STOPS))]
    ladder = stop is not None and random.random() < 0.6
    exits = Exits(
        stop=stop,
        targets=DEFAULT_LADDER if ladder else (),
        trail=TRAILS[random.integers(len(TRAILS))],
        runner_trail=some(random, Trail(pct=0.01)) if ladder else None,
        break_even_after=1 if ladder else None,
        time_stop_bars=some(random, int(random.integers(5, 300))),
        session_close=bool(random.random() < 0.2),
    )
    rules = Rules(
        *(1e6, Size("equity_share", 0.5), FEES[: 1 + (seed % 2)]),
        borrow_bps_per_day=float(random.choice([0.0, 3.0])),
        exits=exits,
        path=str(random.choice(["adverse", "favourable", "likely"])),
        close_at_end=bool(random.random() < 0.5),
        participation=float(random.choice([0.1, np.nan])),
        guards=Guards(
            kill_switch=some(random, float(random.choice([0.05, 0.3]))),
            max_daily_loss=some(random, 0.02),
            max_drawdown=some(random, 0.2),
        ),
    )
    return tape_of(market, decisions, [instrument], rules)


def all_of(desk, logs):
    """Every byte a run wrote."""
    account = desk.accounts[0]
    rows = zip(logs[:3], (account["n_fills"], account["n_trades"], account["n_orders"]), strict=True)
    return [log.tobytes() for log in logs[3:]] + [log[:n].tobytes() for log, n in rows]


def bytes_of(sleeve):
    return [log.tobytes() for log in (*sleeve.logs[3:], *sleeve.logs[:3])]


def ran(tape, drive):
    desk, logs = desk_of(tape, 1e6), logs_of(N_BARS, ROOM)
    drive(tape, desk, logs)
    return all_of(desk, logs)


def glided(tape):
    return ran(tape, lambda *held: run(*held, 0, N_BARS))


@pytest.mark.parametrize("seed", range(40))
def test_gliding_over_quiet_bars_changes_no_byte(seed):
    tape = world(seed)
    assert glided(tape) == ran(tape, lambda *held: run_every_bar(*held, 0, N_BARS))


@pytest.mark.parametrize("seed", range(40))
def test_short_cuts_change_no_byte(seed):
    """One path where both give the same fill, and an open that can bring nothing passed over."""
    tape = world(seed)
    thorough = tape._replace(rules=tape.rules.copy())
    thorough.rules["thorough"] = True
    assert glided(tape) == glided(thorough)


def test_a_run_continues_where_it_stopped():
    def in_pieces(tape, desk, logs):
        for first in range(0, N_BARS, 100):
            run(tape, desk, logs, first, first + 100)

    tape = world(3)
    assert ran(tape, in_pieces) == glided(tape)


def test_sleeves_are_the_same_on_one_thread_and_two():
    tapes = [world(seed) for seed in range(6)]
    alone, together = (run_sleeves(tapes, 1e6, threads=threads) for threads in (1, 2))
    assert [bytes_of(sleeve) for sleeve in alone] == [bytes_of(sleeve) for sleeve in together]
    assert [bytes_of(sleeve) for sleeve in alone] == [glided(tape) for tape in tapes]


def test_sleeves_write_to_what_earlier_ones_gave_back_and_to_nothing_that_is_held():
    def spread(sleeves):
        return {sleeve.logs.equity.__array_interface__["data"][0] for sleeve in sleeves}

    tapes, others = ([world(seed) for seed in seeds] for seeds in (range(3), range(3, 6)))
    held = run_sleeves(tapes, 1e6, threads=1)
    given_back = run_sleeves(others, 1e6, threads=1)
    places = spread(given_back)
    del given_back
    assert spread(run_sleeves(others, 1e6, threads=1)) == places
    assert not spread(held) & places
    assert [bytes_of(sleeve) for sleeve in held] == [glided(tape) for tape in tapes]


def test_bar_by_bar_from_python_is_the_same_run():
    def live(tape, desk, logs):
        silent = with_signals(tape, np.zeros((N_BARS, 1), np.int8))
        stepped = Live(silent, desk, logs)
        for t in range(N_BARS):
            if tape.signals[t, 0] & 15:
                stepped.say(t, 0, int(tape.signals[t, 0]))
            stepped.step(t)

    tape = world(5)
    assert ran(tape, live) == glided(tape)


def test_a_sweep_measures_what_each_run_would_give():
    tape = world(2)

    def rolled(k, signals):
        signals[k:] = tape.signals[: N_BARS - k]
        signals[np.isnan(tape.closes)] = 0

    alone, together = (run_sweep(tape, 1e6, rolled, 5, threads=threads) for threads in (1, 2))
    assert alone == together
    for k, measured in enumerate(alone):
        signals = np.zeros((N_BARS, 1), np.int8)
        rolled(k, signals)
        heard = with_signals(tape, signals)
        desk, logs = desk_of(heard, 1e6), logs_of(N_BARS, ROOM)
        run(heard, desk, logs, 0, N_BARS)
        peaks = np.maximum(np.maximum.accumulate(logs.equity), 1e6)
        assert measured.net == logs.equity[-1] / 1e6 - 1
        assert measured.max_drawdown == pytest.approx((1 - logs.equity / peaks).max(), rel=1e-12)
        assert measured.n_trades == desk.accounts[0]["n_trades"]
