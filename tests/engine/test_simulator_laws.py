"""The laws of the simulator, each held against mutants that break it: a law that catches nothing is none.

Which law catches which mutant is a table (`CAUGHT`): truncation finds the far future, the next-bar law the near one, only
an example worked by hand fixes the exact bar, and the accounting identity is blind to all of them.
"""

import copy
import hashlib
import json
import math

import pytest

from engine.simulator.scenario import simulated
from tests.engine.test_fills_oracle import FLAT, buy, decision, flat, parts_sum, told, world
from tests.engine.test_kernel_twin import assert_alike, in_a_process_of_its_own
from tests.worlds import drawn, seeded

WORLDS = range(20)


def shifted(scenario, bars):
    """Every decision said to be made `bars` later; what then lies outside is left out."""
    n = max(len(rows) for rows in scenario["bars"].values())
    moved = [one | {"bar": one["bar"] + bars} for one in scenario["decisions"]]
    return scenario | {"decisions": [one for one in moved if 0 <= one["bar"] < n]}


def only_what_will_pay(scenario):
    last = scenario["bars"]["X"][-1][-2]
    rows = scenario["bars"]["X"]
    return scenario | {
        "decisions": [one for one in scenario["decisions"] if one["do"] != "buy" or rows[one["bar"]][-2] <= last]
    }


MUTANTS = {
    "none": simulated,
    "fills on the same bar": lambda scenario: simulated(shifted(scenario, -1)),
    "fills on the next bar's decision": lambda scenario: simulated(shifted(scenario, -2)),
    "fills one bar late": lambda scenario: simulated(shifted(scenario, 1)),
    "knows the last close": lambda scenario: simulated(only_what_will_pay(scenario)),
}


def trading(random):
    """Eight bars, and something decided on most of them."""
    at, rows = 200, []
    for _ in range(8):
        opens, at = at + random.randint(-6, 6), at + random.randint(-8, 8)
        rows.append([opens / 2, max(opens, at) / 2 + 1, min(opens, at) / 2 - 1, at / 2, 1000])
    decisions = [
        decision(do, bar=bar, **({} if do == "close" else {"quantity": random.choice([1, 2.5])}))
        for bar in range(8)
        for do in [random.choice(["buy", "buy", "sell", "close"])]
    ]
    return world(rows, *decisions, costs={"taker_bps": 5, "half_spread_bps": 2})


def cut_at(scenario, n):
    cut = copy.deepcopy(scenario)
    clock = sorted({row[0] for rows in scenario["bars"].values() for row in rows if not isinstance(row[0], float)})
    for name, rows in cut["bars"].items():
        cut["bars"][name] = [row for row in rows if row[0] < clock[n]] if clock else rows[:n]
    for key in ("decisions", "actions"):
        cut[key] = [one for one in cut.get(key, ()) if one["bar"] < n]
    return cut


def until(answer, n):
    return answer["equity"][:n], [fill for fill in answer["fills"] if fill["bar"] < n]


def by_hand(run):
    """Bought at the open after the first close, sold at the open after the second."""
    rows = [flat(100), [101, 103, 101, 102, 1000], [104, 104, 99, 100, 1000], flat(96)]
    answer = run(world(rows, buy(quantity=2), decision("close", bar=1)))
    assert told(answer) == [(1, "buy", 2.0, 101.0, "entry"), (2, "sell", 2.0, 104.0, "signal")]
    assert answer["equity"] == [10_000, 10_002, 10_006, 10_006]


def cut_bars_give_cut_results(run):
    for seed in WORLDS:
        scenario = trading(seeded(seed))
        whole = run(scenario)
        for n in range(2, 8):
            assert until(run(cut_at(scenario, n)), n) == until(whole, n)


def a_decision_moves_nothing_before_the_next_bar(run):
    for seed in WORLDS:
        scenario = trading(seeded(seed))
        whole = run(scenario)
        for bar in range(1, 8):
            less = scenario | {"decisions": [one for one in scenario["decisions"] if one["bar"] != bar]}
            assert until(run(less), bar + 1) == until(whole, bar + 1)


def parts_sum_to_the_change_in_equity(run):
    for seed in WORLDS:
        parts_sum(run(trading(seeded(seed))))


LAWS = (
    by_hand,
    cut_bars_give_cut_results,
    a_decision_moves_nothing_before_the_next_bar,
    parts_sum_to_the_change_in_equity,
)
CAUGHT = {
    "none": (False, False, False, False),
    "fills on the same bar": (True, False, True, False),
    "fills on the next bar's decision": (True, True, True, False),
    "fills one bar late": (True, False, False, False),
    "knows the last close": (True, True, False, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_law_catches_the_mutants_it_is_for(mutant):
    assert tuple(breaks(law, MUTANTS[mutant]) for law in LAWS) == CAUGHT[mutant]


def breaks(law, run):
    try:
        law(run)
    except AssertionError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_cut_bars_give_cut_results_over_the_whole_contract(seed):
    scenario = drawn(seeded(seed))
    clock = {row[0] for rows in scenario["bars"].values() for row in rows}
    whole = simulated(scenario)
    for n in range(2, len(clock)):
        cut = cut_at(scenario, n)
        if all(cut["bars"].values()):
            assert until(simulated(cut), n) == until(whole, n)


@pytest.mark.parametrize("seed", range(40))
def test_the_parts_of_every_world_sum_to_the_change_in_equity(seed):
    scenario = drawn(seeded(seed))
    scenario["account"]["cash"] = 10_000
    parts_sum(simulated(scenario))


@pytest.mark.parametrize("seed", range(20))
def test_bars_before_what_a_decision_looks_at_change_nothing(seed):
    scenario = trading(seeded(seed))
    before = [flat(100 + k) for k in range(5)]
    longer = scenario | {"bars": {"X": before + scenario["bars"]["X"]}}
    longer["decisions"] = [one | {"bar": one["bar"] + 5} for one in scenario["decisions"]]
    seen, wanted = simulated(longer), simulated(scenario)
    assert seen["equity"][5:] == wanted["equity"]
    assert [fill | {"bar": fill["bar"] - 5} for fill in seen["fills"]] == wanted["fills"]


@pytest.mark.parametrize("seed", range(20))
def test_twice_the_money_and_sizes_is_twice_the_result(seed):
    scenario = trading(seeded(seed))
    twice = copy.deepcopy(scenario)
    twice["account"]["cash"] *= 2
    for one in twice["decisions"]:
        one.update({"quantity": one["quantity"] * 2} if "quantity" in one else {})
    seen, wanted = simulated(twice), simulated(scenario)
    assert_alike(seen["equity"], [2 * equity for equity in wanted["equity"]])
    assert_alike([one["pnl"] for one in seen["trades"]], [2 * one["pnl"] for one in wanted["trades"]])


@pytest.mark.parametrize("seed", range(20))
def test_prices_that_never_move_give_exactly_minus_costs(seed):
    scenario = trading(seeded(seed))
    scenario["bars"]["X"] = [FLAT] * 8
    for trade in simulated(scenario)["trades"]:
        assert trade["edge"] == pytest.approx(0, abs=1e-9)
        assert trade["pnl"] == pytest.approx(-trade["fees"] - trade["spread"], abs=1e-9)


@pytest.mark.parametrize("kind", ["spot", "linear", "inverse"])
@pytest.mark.parametrize("seed", range(10))
def test_an_instrument_in_another_currency_is_the_same_in_its_own(kind, seed):
    """Half the cash in a currency worth twice as much: the same orders and fills, half the money."""
    scenario = trading(seeded(seed)) | {"instruments": {"X": {"kind": kind}}}
    abroad = scenario | {"account": {"cash": 20_000}, "conversions": {"X": 2.0}}
    seen, wanted = simulated(abroad), simulated(scenario)
    assert_alike(seen["equity"], [2 * equity for equity in wanted["equity"]])
    assert [order | {"id": 0} for order in seen["orders"]] == [order | {"id": 0} for order in wanted["orders"]]
    assert_alike([fill["price"] for fill in seen["fills"]], [fill["price"] for fill in wanted["fills"]])


def digest(seeds):
    answers = [simulated(drawn(seeded(seed))) for seed in seeds]
    return hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()


def test_two_runs_give_the_same_bytes():
    assert digest(range(20)) == digest(range(20))


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_gives_the_same_bytes(hash_seed):
    code = "from tests.engine.test_simulator_laws import digest; print(digest(range(20)))"
    done = in_a_process_of_its_own(code, PYTHONHASHSEED=hash_seed)
    assert done.stdout.strip() == digest(range(20)), done.stderr[-2000:]


# Bad input


def defined(answer):
    assert all(math.isfinite(equity) for equity in answer["equity"])
    for one in (*answer["trades"], *answer["open_positions"]):
        assert all(math.isfinite(one[key]) for key in ("pnl", "edge", "fees", "funding"))


BROKEN = {
    "a price that is no number": lambda row: [*row[:2], math.nan, *row[3:]],
    "no prices at all": lambda _row: [None] * 5,
    "no volume": lambda row: [*row[:4], 0],
    "a volume that is no number": lambda row: [*row[:4], math.nan],
    "a thousand times the price": lambda row: [*(1000 * price for price in row[:4]), row[4]],
    "a thousandth of the price": lambda row: [*(price / 1000 for price in row[:4]), row[4]],
    "a spike that comes back": lambda row: [row[0], row[1] * 1000, row[2] / 1000, row[3], row[4]],
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", [{}, {"kind": "linear", "leverage": 20}, {"kind": "inverse", "leverage": 3}])
def test_bad_bars_give_defined_results(how, kind):
    for seed in range(10):
        random = seeded(seed)
        scenario = trading(random) | {"instruments": {"X": kind}, "rules": {"liquidate_on": "last"}}
        bar = random.randint(1, 7)
        scenario["bars"]["X"][bar] = BROKEN[how](scenario["bars"]["X"][bar])
        for one in scenario["decisions"]:
            one.update({"stop": {"pct": 0.05}, "trail": {"pct": 0.1}} if one["do"] == "buy" else {})
        defined(simulated(scenario))


@pytest.mark.slow
def test_a_million_decisions_are_followed_and_not_lost():
    """On every close what rests is taken back, and the position of one unit opened or closed."""
    n = 500_000
    turns = [buy(bar=bar) if bar % 2 == 0 else decision("close", bar=bar) for bar in range(n)]
    taken_back = [decision("cancel", bar=bar) for bar in range(n)]
    answer = simulated(world([[100, 101, 99, 100, 1000]] * n, *taken_back, *turns))
    assert len(answer["orders"]) == n
    assert len(answer["fills"]) == n - 1
    defined(answer)
