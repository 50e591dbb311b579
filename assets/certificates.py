"""The look-ahead certificate of a strategy version: every law, on everything the lake holds for it.

`proved` proves; `kept_for` asks the lake: what was given to the same code, configuration and engine is not
proved again.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import dagster as dg
import numpy as np
import polars as pl

from assets import research
from assets.features import feature_columns
from assets.universe import by_session
from engine.errors import EngineError
from engine.history import History
from engine.strategy import Strategy
from engine.universe import measures
from quality import sla, tables
from quality.datasets import Instrument
from quality.lookahead.certificate import MINIMUM_BARS, Certificate, certificate, on_enough_bars
from quality.lookahead.chosen_before import Chosen, embargo, universe
from quality.lookahead.laws import Law, LawName, broken
from quality.lookahead.market import Market
from quality.lookahead.next_bar import next_bar
from quality.lookahead.proof import proof, rare_states
from quality.universe import Universe, judge
from resources.lake import Lake
from resources.market import calendar_of
from resources.project import Project, StrategyDefinition

if TYPE_CHECKING:
    from engine.backtest import Plan

LAWS: tuple[LawName, ...] = get_args(LawName)


class Known(NamedTuple):
    """What decides before a session about it: verdicts, and how universes choose, by universe and instrument."""

    record: pl.DataFrame
    chosen: Mapping[str, Chosen]


def kept_for(lake: Lake, project: Project, definition: StrategyDefinition) -> Certificate | None:
    """The certificate that the lake has, where it was given for the same code and all laws held."""
    kept = lake.read("certificates", strategy=definition.configuration.key)
    identity = research.identity_of(project, definition)
    if not kept.is_empty() and bool((kept["passed"] & (kept["code"] == identity)).all()):
        return read(definition.configuration.key, kept)
    return None


def proved(lake: Lake, project: Project, definition: StrategyDefinition, *, last: date) -> Certificate:
    """A new one, on everything the lake holds up to the session `last`."""
    past, plan = research.history_of(lake, project, definition, last=last), research.plan_of(project, definition)
    return certify(project, definition, past, plan, known_of(lake, project, definition, last=last))


def certify(project: Project, definition: StrategyDefinition, past: History, plan: "Plan", known: Known) -> Certificate:
    """Prove every law on every instrument."""
    strategy, timeframe = definition.signal(**definition.configuration.parameters()), plan.timeframe
    dataset = project.datasets[definition.configuration.dataset]
    traded, features = [instrument.id for instrument in plan.instruments], feature_columns(dataset)
    laws, decided, n_bars = {}, {}, 0
    for instrument in traded:
        market = Market(instrument, past.frames, traded, past.members)
        found, height = proof(strategy, market, timeframe, features), market.bars(timeframe).height
        laws[instrument] = [on_enough_bars(law, height) if law.law == "prefix" else law for law in found.laws]
        decided[instrument] = found.decided
        n_bars += height
    once = [
        _next_bar(strategy, past, plan),
        rare_states(strategy, Market(traded[0], past.frames, traded), timeframe, decided),
        universe(known.chosen),
        embargo(sla.embargo, known.record),
    ]
    code = research.identity_of(project, definition)
    return certificate(definition.configuration.key, laws, once=once, bars_checked=n_bars, code=code)


def known_of(lake: Lake, project: Project, definition: StrategyDefinition, *, last: date) -> Known:
    """What the lake holds of verdicts and of what universes choose from, up to the session `last`."""
    dataset = project.datasets[definition.configuration.dataset]
    record = lake.read("sla_record", dataset=dataset.name).filter(pl.col("session").is_between(dataset.start, last))
    traded = definition.configuration.chosen_instruments(dataset)
    sessions = calendar_of(project, dataset).sessions(dataset.start, last) if dataset.universes else []
    grid = pl.DataFrame({"session": sessions}, {"session": pl.Date})
    actions = lake.read("corporate_actions", dataset=dataset.name)
    chosen = {}
    for instrument in traded if dataset.universes else ():
        own = pl.col("instrument") == instrument.id
        due = record.filter(own, pl.col("rule") == "completeness")
        known = by_session(lake, dataset, instrument, grid, due=due, actions=actions.filter(own))
        for name in dataset.universes:
            rules = project.universes[name]
            choose = partial(_choose, instrument=instrument, rules=rules)
            chosen[f"{name} of {instrument.id}"] = Chosen(choose, known, rules.window_sessions)
    return Known(record, chosen)


def rows_of(proved: Certificate) -> pl.DataFrame:
    """Rows of the table `certificates`."""
    rows = [
        {**law.model_dump(), "strategy": proved.strategy, "bars_checked": proved.bars_checked, "code": proved.code}
        for law in proved.laws
    ]
    return tables.frame("certificates", rows)


def read(strategy: str, rows: pl.DataFrame) -> Certificate:
    """The certificate that its rows in the table say."""
    laws = {row["law"]: Law(**row) for row in rows.select(Law.model_fields.keys()).iter_rows(named=True)}
    return Certificate(
        strategy=strategy,
        certified=bool(rows["passed"].all()),
        laws=tuple(laws[name] for name in LAWS if name in laws),
        bars_checked=int(rows["bars_checked"][0]),
        code=str(rows["code"][0]),
    )


def check_specs() -> list[dg.AssetCheckSpec]:
    """One check a law. None blocks: the gate refuses what is not certified, and all else is still measured."""
    return [dg.AssetCheckSpec(law, asset="certificates", description=_ABOUT[law]) for law in LAWS]


def check_results(proved: Certificate) -> list[dg.AssetCheckResult]:
    return [
        dg.AssetCheckResult(
            asset_key="certificates",
            check_name=law.law,
            passed=law.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "detail": law.detail,
                **({} if law.first_bar is None else {"first_bar": law.first_bar}),
                **({} if law.column is None else {"column": law.column}),
            },
        )
        for law in proved.laws
    ]


_ABOUT: Mapping[LawName, str] = {
    "static_walk": "The column tree has only nodes that are known to be causal.",
    "prefix": "Data cut at a bar's close give what all data give there, at every bar.",
    "poison": "Other data after a bar change nothing up to it.",
    "warm_up": "Data older than the declared warm-up change nothing, to 1e-8.",
    "alignment": "Of longer timeframes and other instruments the newest closed bar is seen.",
    "next_bar": "A decision moves nothing up to the bar it is made on.",
    "rare_states": "The prefix law holds on made-up bars too, on which rare signals fire.",
    "universe": "Membership of a session is the same without that session and all later ones.",
    "embargo": "Whether a session is embargoed does not depend on its own verdicts.",
}


def _choose(known: pl.DataFrame, *, instrument: Instrument, rules: Universe) -> pl.DataFrame:
    return judge(measures(known, window_sessions=rules.window_sessions), instrument, rules)


def _next_bar(strategy: Strategy, past: History, plan: "Plan") -> Law:
    from engine import backtest
    from engine.simulator.inputs import SIGNALS
    from engine.simulator.simulation import simulate as simulate_bars

    on = backtest.grid(past, plan)
    try:
        all_decided = backtest.decisions(strategy, past, plan, on)
    except EngineError as error:
        return broken("next_bar", f"it cannot be asked: {error}")
    bars, decided = backtest.part(on, all_decided, (max(0, on.bars.ts.size - MINIMUM_BARS), on.bars.ts.size))
    present = np.isfinite(bars.closes)  # nothing is decided where an instrument has no bar
    held = [name for name in ("targets", "weights") if getattr(decided, name) is not None]

    def simulate(changed: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {
            name: values & present if values.dtype == np.bool_ else np.where(present, values, np.nan)
            for name, values in changed.items()
        }
        result = simulate_bars(bars, decided._replace(**kept), plan.instruments, plan.rules)
        return {"equity": result.equity, "cash": result.cash, "gross_exposure": result.gross_exposure}

    names: Sequence[str] = held or SIGNALS
    return next_bar(simulate, {name: getattr(decided, name) for name in names})
