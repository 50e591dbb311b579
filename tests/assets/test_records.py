"""What is written of a run: every table keeps its contract, and together they explain the change in equity."""

import json

import polars as pl
import pytest

from assets import records, research
from quality import tables
from tests.gated import Gated
from tests.walks import project_of, strategy, walked_history

EVERYTHING = {
    **strategy(exits={"stop": {"pct": 0.06}, "targets": "default"}, risk={"max_open_positions": 1}, magnify="15m"),
    "costs": {"slippage": {"model": "square_root", "y": 0.5, "days": 5}, "borrow_bps_per_day": 5, "participation": 0.2},
}


@pytest.fixture(scope="module")
def run():
    project, definition = project_of(EVERYTHING)
    plan = research.plan_of(project, definition)
    result = research.backtest_of(definition, walked_history(39), plan)  # with something still open at the end
    document = research.plan_document(project, definition, {"offset": 0.0})
    return result, plan, records.frames("scripted@1.0.0", "backtest", plan=plan, document=document, **result._asdict())


def test_every_frame_keeps_the_contract_of_its_table(run) -> None:
    _, _, written = run
    for name, frame in written.items():
        assert tables.check(name, frame).equals(frame), name
        assert frame.height or name == "candidates", name  # of a gate, which this strategy has not


def test_what_a_gate_was_asked_is_a_table_and_its_verdicts_are_counted() -> None:
    project, definition = project_of(strategy())
    plan = research.plan_of(project, definition)
    gated = definition._replace(signal=Gated)
    result = research.backtest_of(gated, walked_history(20), plan)
    document = research.plan_document(project, gated, {})
    written = records.frames("gated@1.0.0", "backtest", plan=plan, document=document, **result._asdict())
    asked = tables.check("candidates", written["candidates"])
    assert set(asked["instrument"]) == {"A.V", "B.V"}
    told = records.candidates_table(written).value
    n_passed = asked.filter((pl.col("refused").list.len() == 0), setup="step", side="long").height
    assert f"| step | long | passed | {n_passed} |" in told
    assert "| step | short | below_minimum, against_bias |" in told


def test_every_trade_has_the_regime_of_the_bar_it_was_decided_on(run) -> None:
    result, _, written = run
    trades = written["trades"].join(
        written["orders"].select(entry_order="order", decided_on="decided_on"), on="entry_order"
    )
    names, numbers = result.decided.regime_names, result.decided.regimes
    instruments = {"A.V": 0, "B.V": 1}
    n_known = 0
    for row in trades.iter_rows(named=True):
        number = numbers[row["decided_on"], instruments[row["instrument"]]]
        assert row["regime"] == (names[int(number)] if number == number else None)  # noqa: PLR0124 - NaN
        n_known += row["regime"] is not None
    assert n_known > 10


def test_parts_of_the_records_add_up_and_every_cost_is_among_them(run) -> None:
    result, plan, written = run
    found = records.attributed(written, result.simulation, plan)
    assert found.holds
    assert found.scale > plan.rules.cash
    assert {name for name, value in found.parts.items() if value} == {*found.parts} - {
        *("slippage", "funding", "dividends")
    }


@pytest.mark.parametrize(
    ("table", "broken"),
    [
        pytest.param("trades", lambda frame: frame[1:], id="a trade that was lost"),
        pytest.param("trades", lambda frame: frame.with_columns(fees=pl.col("fees") * 1.01), id="other fees"),
        pytest.param("open_positions", lambda frame: frame.clear(), id="positions that were lost"),
    ],
)
def test_a_broken_record_fails_the_check(run, table, broken) -> None:
    result, plan, written = run
    found = records.attributed({**written, table: broken(written[table])}, result.simulation, plan)
    check = records.attribution_check(["backtest"], found)
    assert not check.passed
    assert check.severity.value == "ERROR"
    assert records.attribution_check(["backtest"], records.attributed(written, result.simulation, plan)).passed


def test_metrics_of_the_exchange_count_what_the_orders_say(run) -> None:
    _, _, written = run
    metrics, orders = written["exchange_metrics"], written["orders"]
    for status in ("filled", "rejected", "expired", "cancelled"):
        assert metrics[status].sum() == orders.filter(pl.col("status") == status).height
    assert metrics["orders"].sum() == orders.height
    given = metrics["reasons"].explode().drop_nulls().value_counts()
    refused = orders.filter(pl.col("status") == "rejected")["reason"].value_counts()
    assert dict(given.rows()) == dict(refused.rows())
    assert (metrics["resting"] >= 0).all()
    assert metrics["participation"].max() <= 0.2 + 1e-9


def test_fills_are_those_of_the_orders_and_trades_they_name(run) -> None:
    _, _, written = run
    filled = written["fills"].group_by("order").agg(pl.col("quantity").sum())
    both = written["orders"].filter(pl.col("filled") > 0).join(filled, on="order", how="full", coalesce=True)
    assert (both["filled"] - both["quantity_right"]).abs().max() < 1e-9
    named = {*written["trades"]["trade"], *written["open_positions"]["trade"]}
    assert {*written["fills"]["trade"]} == named


def test_the_document_says_what_it_ran_with(run) -> None:
    (document,) = (json.loads(text) for text in run[2]["plans"]["document"])
    assert document["params"] == {"offset": 0.0}
    assert document["exits"]["targets"] == [{"r": 1.0, "share": 0.4}, {"r": 2.5, "share": 0.4}]
    assert document["risk"] == {"max_open_positions": 1}
    assert document["costs"]["participation"] == 0.2
    assert set(document["instruments"]) == {"A.V", "B.V"}


def test_the_report_has_the_three_paths_and_what_the_judged_one_bears(run) -> None:
    result, _, written = run
    report = written["backtest_report"]
    assert report["path"].to_list() == ["adverse", "likely", "favourable"]
    judged = report.row(0, named=True)
    net = result.simulation.equity[-1] - 10_000
    assert judged["net_result"] == pytest.approx(net)
    assert judged["net_result"] <= report["net_result"].max()
    assert (judged["break_even_cost_multiple"] is None) == (judged["break_even_reason"] is not None)
    assert (judged["capacity"] is None) == (judged["capacity_reason"] is not None)
    assert report["capacity"][1:].null_count() == report["capacity_reason"][1:].null_count() == 2
    table = records.report_table(written).md_str
    assert [line.split(" |")[0] for line in table.splitlines()[2:5]] == ["| adverse", "| likely", "| favourable"]
    assert f"Net result from {report['net_result'].min():,.2f} to {report['net_result'].max():,.2f}" in table
