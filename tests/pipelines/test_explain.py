"""`gauntlet explain`: three answers from the records of a run; what has no record ends in a sentence."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from assets import records, research
from engine.attribution import SIGNS
from pipelines.cli.main import main
from resources.lake import Lake
from resources.warehouse import Warehouse
from tests.gated import Gated
from tests.walks import project_of, strategy, walked_history

pytestmark = pytest.mark.slow

KEY = "scripted@1.0.0"
GATED = "gated@1.0.0"
N_DAYS = 38  # with something still open at the end
WRITTEN = {
    **strategy(
        size={"model": "risk_per_trade", "risk": 0.004, "cap": 0.4},
        exits={"stop": {"pct": 0.02}, "targets": "default"},
        risk={"max_open_positions": 1},
        magnify="15m",
    ),
    "costs": {"slippage": {"model": "bps", "bps": 3}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose warehouse holds one run, as backtest and as window."""
    root = tmp_path_factory.mktemp("home")
    lake = Lake(root=str(root / "lake"), lock_path=str(root / "lock"))
    project, definition = project_of(WRITTEN)
    plan = research.plan_of(project, definition)
    result = research.backtest_of(definition, walked_history(N_DAYS), plan)
    document = research.plan_document(project, definition, {"offset": 0.0})
    for scope in ("backtest", "w001"):
        written = records.frames(KEY, scope, plan=plan, document=document, **result._asdict())
        records.write(lake, KEY, scope, written)
    gated = definition._replace(signal=Gated)
    result = research.backtest_of(gated, walked_history(N_DAYS), plan)
    written = records.frames(GATED, "backtest", plan=plan, document=document, **result._asdict())
    records.write(lake, GATED, "backtest", written)
    Warehouse(path=str(root / "warehouse.duckdb")).rebuild(lake)
    return root


@pytest.fixture
def explain(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("GAUNTLET_HOME", str(home))
        monkeypatch.setattr(sys, "argv", ["gauntlet", "explain", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def rows(home: Path, name: str) -> pl.DataFrame:
    return Lake(root=str(home / "lake"), lock_path=str(home / "lock")).read(name, strategy=KEY, scope="backtest")


def test_a_trade_is_explained_by_its_own_records(home: Path, explain) -> None:
    trade = rows(home, "trades").drop_nulls("regime").sort("trade").row(11, named=True)
    code, out, err = explain(f"{KEY}/{trade['trade']}", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    order = rows(home, "orders").row(by_predicate=pl.col("order") == trade["entry_order"], named=True)
    assert told["entered"]["instrument"] == trade["instrument"]
    assert told["entered"]["signal"] == trade["side"]
    assert told["entered"]["known"]["close"] == order["price_seen"]
    assert {name: told["entered"][name] for name in ("regime", "regime_confidence", "setup")} == {
        "regime": trade["regime"],
        "regime_confidence": trade["regime_confidence"],
        "setup": None,
    }
    assert trade["regime"] in {"trend", "chop", "bear"}
    size = told["size"]
    assert size["equity"] * 0.004 / size["stop_distance"] == pytest.approx(size["wanted"])
    assert size["quantity"] == pytest.approx(size["wanted"] // 0.01 * 0.01)
    assert size["guards"] == {"max_open_positions": 1}
    route = told["route"]
    assert [fill["trade"] for fill in route["fills"]] == [trade["trade"]] * len(route["fills"])
    assert {fill["order"] for fill in route["fills"]} <= {
        trade["entry_order"],
        *(one["order"] for one in route["protection"]),
        *rows(home, "orders").filter(pl.col("role") == "exit")["order"],
    }
    assert sum(sign * route["result"][name] for name, sign in SIGNS.items()) == pytest.approx(trade["pnl"])


def test_sentences_have_the_three_answers_and_every_fill(home: Path, explain) -> None:
    trade = rows(home, "trades").sort("trade")["trade"][5]
    code, out, _ = explain(f"{KEY}/{trade}")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("Why")] == [
        "Why entered",
        "Why this size",
        "Why this route",
    ]
    for fill in rows(home, "fills").filter(pl.col("trade") == trade)["fill"]:
        assert fill in out
    assert "15m bars" in out
    assert "max_open_positions 1" in out
    assert "The strategy says no setup, bias, strength or confidence." in out
    assert "No regime was known." in out  # so early


def test_a_trade_is_told_with_its_regime(home: Path, explain) -> None:
    trade = rows(home, "trades").drop_nulls("regime").row(0, named=True)
    _, out, _ = explain(f"{KEY}/{trade['trade']}")
    assert f"  regime {trade['regime']}, regime confidence 0." in out or ", regime confidence 1." in out


def test_a_trade_behind_a_gate_has_the_score_it_entered_for_by_component(explain) -> None:
    code, out, _ = explain(f"{GATED}/t-000003", "--json")
    assert code == 0
    entered = json.loads(out)["entered"]
    passed = [one for one in entered["candidates"] if not one["refused"]]
    assert {one["side"] for one in entered["candidates"]} == {entered["signal"]}
    assert passed[0]["score"] == pytest.approx(entered["strength"])
    parts = passed[0]["components"].values()
    assert sum(part["value"] * part["share"] for part in parts) == pytest.approx(entered["strength"])
    _, told, _ = explain(f"{GATED}/t-000003")
    assert f"{passed[0]['setup']} passed; score " in told
    assert "confluence" in told


def test_an_order_that_was_refused_says_which_guard_refused_it(home: Path, explain) -> None:
    refused = rows(home, "orders").filter(pl.col("reason") == "max_open_positions")["order"][0]
    code, out, _ = explain(f"{KEY}/{refused}")
    assert code == 0
    assert "refused it: max_open_positions" in out
    assert "Nothing filled." in out


def test_an_order_that_entered_is_explained_as_its_trade(home: Path, explain) -> None:
    trade = rows(home, "trades").row(3, named=True)
    _, by_order, _ = explain(f"{KEY}/{trade['entry_order']}", "--json")
    assert json.loads(by_order)["route"]["result"]["trade"] == trade["trade"]


def test_a_position_that_is_still_open_is_explained_too(home: Path, explain) -> None:
    opened = rows(home, "open_positions")
    code, out, _ = explain(f"{KEY}/{opened['trade'][0]}")
    assert code == 0
    assert "still open" in out


def test_a_window_is_named_between_strategy_and_id(explain) -> None:
    code, out, _ = explain(f"{KEY}/w001/t-000001", "--json")
    assert code == 0
    assert json.loads(out)["scope"] == "w001"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        pytest.param("t-000001", "is no address", id="no strategy"),
        pytest.param(f"{KEY}/trade-1", "is no address", id="no id"),
        pytest.param(f"{KEY}/t-999999", "backtest has t-000001 to t-", id="no such trade"),
        pytest.param(f"{KEY}/o-999999", "backtest has o-000001 to o-", id="no such order"),
        pytest.param(f"{KEY}/w009/t-000001", "has no w009, only backtest, w001", id="no such window"),
        pytest.param("other@1.0.0/t-000001", f"there are {GATED}, {KEY}", id="no such strategy"),
    ],
)
@pytest.mark.parametrize("how", [(), ("--json",)])
def test_what_has_no_record_ends_in_a_sentence(explain, address: str, said: str, how: tuple[str, ...]) -> None:
    code, out, err = explain(address, *how)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
