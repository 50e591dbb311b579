"""What research computes for one strategy version or control, from its definition and its history.

`history_of` reads, `plan_of` says what a run needs, `backtest_of`, `trials_of` and `walk_of`
compute, `measure` gathers every metric. The assets of strategies and the controls call
the same functions, so a control meets exactly the gate that a strategy meets.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from assets import inputs
from assets.inputs import regime_terms
from engine.evaluation import Memo
from engine.history import History
from engine.walk_forward import Window, windows
from quality.contracts import Contract
from quality.datasets import Dataset, Instrument
from quality.evidence import Measurement, measured
from quality.hashes import document_hash
from quality.policies import Costs
from quality.risk import Guards
from quality.sizing import SIGNAL
from quality.strategies import InUniverse, StrategyConfiguration
from resources import columns
from resources.columns import Columns
from resources.errors import WindowNotCompleteError
from resources.lake import Lake
from resources.market import calendar_of, history
from resources.project import Project, StrategyDefinition
from resources.settings import numbers_hash

if TYPE_CHECKING:
    from engine.backtest import Plan, Rate
    from engine.regimes import RegimeRules
    from engine.report import Found, PathResult
    from engine.selection import Trial, Walked
    from engine.simulator.inputs import Decisions, Market
    from engine.simulator.inputs import Instrument as SimulatedInstrument
    from engine.simulator.simulation import Simulation

BACKTEST = "backtest"
JUDGED_PATH = "adverse"
INSTRUMENT_TERMS = (*Contract.model_fields, "tick", "lot", "min_notional", "tier", "settle")
_SINCE_EVER_US = -(1 << 62)
Floats = NDArray[np.float64]


class Backtest(NamedTuple):
    """The full-span run with the file's parameters."""

    simulation: "Simulation"
    bars: "Market"
    returns: pl.DataFrame
    paths: "Sequence[PathResult]"
    bears: "Bears"
    candidates: pl.DataFrame  # of its gate
    decided: "Decisions"


class Bears(NamedTuple):
    """How much of costs and of its own size a backtest bears."""

    break_even_cost_multiple: "Found"
    capacity: "Found"


class WindowSessions(NamedTuple):
    name: str  # w001, w002, …
    in_sample: Sequence[date]
    out_of_sample: Sequence[date]


def history_of(lake: Lake, project: Project, definition: StrategyDefinition, *, last: date) -> History:
    configuration = definition.configuration
    dataset = project.datasets[configuration.dataset]
    return history(
        lake,
        dataset,
        calendar_of(project, dataset),
        instruments=inputs.instruments_seen(definition, dataset),
        timeframe=configuration.timeframe,
        last=last,
        rates=tuple(configuration.fx.values()),
        magnify=configuration.magnify,
        universe=configuration.instruments.universe if isinstance(configuration.instruments, InUniverse) else None,
    )


def plan_of(project: Project, definition: StrategyDefinition) -> "Plan":
    """What the YAML files say, as the engine wants it."""
    from engine.backtest import Plan
    from engine.costs import FeePeriod, FeeTier
    from engine.simulator.inputs import Entry, PerShare, Rules, Size, Slippage
    from engine.simulator.scenario import exits_of, guards_of, size_of

    configuration = definition.configuration
    dataset, costs = project.datasets[configuration.dataset], project.costs[configuration.costs]
    traded, size = configuration.chosen_instruments(dataset), configuration.size
    guards = guards_named(project, definition)
    fees = tuple(
        FeePeriod(_midnight_us(period.from_), tuple(FeeTier(**tier.model_dump()) for tier in period.tiers))
        for period in costs.fees
    )
    return Plan(
        timeframe=configuration.timeframe,
        instruments=tuple(_instrument(one, costs) for one in traded),
        rules=Rules(
            cash=configuration.account.cash,
            size=Size("units", 1.0) if isinstance(size, str) else size_of(size.model_dump()),
            fees=fees or (FeePeriod(_SINCE_EVER_US, (FeeTier(0.0, 0.0, 0.0),)),),
            borrow_bps_per_day=costs.borrow_bps_per_day,
            exits=exits_of(configuration.exits.document),
            limit_fill=costs.limit_fill,
            slippage=Slippage(**costs.slippage.model_dump()),
            per_share=PerShare(**costs.per_share.model_dump()) if costs.per_share else None,
            participation=costs.participation,
            liquidate_on_last=costs.liquidate_on == "last",
            delisting_recovery=costs.delisting_recovery,
            guards=guards_of(guards.model_dump(by_alias=True) if guards else {}),
            entry=Entry(**configuration.order.model_dump(exclude={"rebalance_band"})),
            rebalance_band=configuration.order.rebalance_band,
        ),
        rates=_rates(configuration, dataset),
        delisted={one.id: one.delisted for one in traded if one.delisted},
        magnify=configuration.magnify,
        sized=size != SIGNAL,
        capital=configuration.account.capital,
        regimes=regime_rules(project, configuration),
    )


def regime_rules(project: Project, configuration: StrategyConfiguration) -> "RegimeRules":
    """How its regimes are told and what they allow; a strategy that says nothing of them has them recorded."""
    from engine.regimes import CLASSIFIERS, DEFAULT_CLASSIFIER, RegimeRules, Terms

    said = configuration.regimes
    classifier = said.classifier if said else DEFAULT_CLASSIFIER
    return RegimeRules(
        classifier=classifier,
        length=(said and said.length) or CLASSIFIERS[classifier].length,
        timeframe=(said and said.timeframe) or configuration.timeframe,
        terms=None
        if said is None
        else {
            name: Terms(frozenset(terms.allowed_signals), terms.size, terms.cash)
            for name, terms in regime_terms(project, configuration).items()
        },
        min_confidence=said.min_confidence if said else 0.0,
    )


def plan_document(project: Project, definition: StrategyDefinition, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was made with, in the words of the files; `params` are the signal's."""
    configuration = definition.configuration
    dataset = project.datasets[configuration.dataset]
    guards = guards_named(project, definition)
    said = configuration.model_dump(mode="json", include={"timeframe", "account", "size", "order", "fx", "magnify"})
    return {
        "params": dict(params),
        **said,
        "exits": configuration.exits.document,
        "risk": guards.model_dump(mode="json", by_alias=True) if guards else {},
        "regimes": _regimes_document(project, configuration),
        "costs": project.costs[configuration.costs].model_dump(mode="json", by_alias=True, exclude_none=True),
        "path": JUDGED_PATH,
        "instruments": {
            one.id: one.model_dump(mode="json", include={*INSTRUMENT_TERMS}, exclude_defaults=True)
            for one in configuration.chosen_instruments(dataset)
        },
    }


def _regimes_document(project: Project, configuration: StrategyConfiguration) -> dict[str, Any]:
    terms = {name: one.model_dump(mode="json") for name, one in regime_terms(project, configuration).items()}
    rules = regime_rules(project, configuration)
    told = {name: getattr(rules, name) for name in ("classifier", "length", "timeframe", "min_confidence")}
    return {**told, "terms": terms if configuration.regimes else None}


def guards_named(project: Project, definition: StrategyDefinition) -> Guards | None:
    """A strategy's own guards, or those of the section that it names."""
    risk = definition.configuration.risk
    return project.risk[risk].guards if isinstance(risk, str) else risk


def _instrument(one: Instrument, costs: Costs) -> "SimulatedInstrument":
    from engine.simulator.inputs import Instrument as SimulatedInstrument

    return SimulatedInstrument(
        id=one.id,
        tick=one.tick,
        lot=one.lot,
        min_notional=one.min_notional,
        half_spread_bps=costs.half_spread_bps[one.tier],
        shortable=one.shortable,
        kind=one.kind,
        leverage=one.leverage,
        maintenance_margin=one.maintenance_margin,
        maintenance_amount=one.maintenance_amount,
        extra_margin=one.extra_margin,
        contract_size=one.contract_size,
        liquidation=one.formula,
        margin=one.margin,
    )


def _rates(configuration: StrategyConfiguration, dataset: Dataset) -> "dict[str, Rate]":
    """By instrument that settles in another currency: the series that converts it, quoted in either of the two."""
    from engine.backtest import Rate

    quoted = {one.id: one.quote for one in dataset.instruments}
    rates = {
        currency: Rate(series, inverted=quoted[series] != configuration.account.currency)
        for currency, series in configuration.fx.items()
    }
    return {one.id: rates[one.settle] for one in configuration.chosen_instruments(dataset) if one.settle in rates}


def parameter_sets(definition: StrategyDefinition) -> dict[str, Mapping[str, Any]]:
    """Every set of the grid, and the file's own values, by parameter hash in order of hash."""
    sets = [*definition.configuration.grid(), definition.configuration.parameters()]
    return dict(sorted((document_hash(params), params) for params in sets))


def identity_of(project: Project, definition: StrategyDefinition) -> str:
    """What a certificate is proved for: code, configuration, instruments, what else decides, and the code that proves it."""
    dataset = project.datasets[definition.configuration.dataset]
    traded = [instrument.id for instrument in definition.configuration.chosen_instruments(dataset)]
    said = [definition.code_hash, definition.configuration_hash, traded, numbers_hash()]
    return document_hash([*said, *inputs.decided_by(project, definition)])


def columns_of(lake: Lake, past: History, plan: "Plan") -> Columns:
    """What remembers the columns of this history, from one run to the next too."""
    peers = [instrument.id for instrument in plan.instruments]
    return columns.beside(lake, past.frames, peers=peers, members=past.members)


def backtest_of(definition: StrategyDefinition, past: History, plan: "Plan", *, memo: Memo | None = None) -> Backtest:
    from engine import backtest, report
    from engine.candidates import all_candidates

    strategy = definition.signal(**definition.configuration.parameters())
    on = backtest.grid(past, plan)
    decided = backtest.decisions(strategy, past, plan, on, memo=memo)
    simulation = backtest.run(on, decided, plan)
    returns = backtest.session_returns(simulation, on.sessions, of=past.sessions, cash=plan.rules.cash)
    bears = Bears(report.break_even_cost_multiple(on, decided, plan), report.capacity(on, decided, plan))
    asked = all_candidates(strategy, past, plan, memo=memo)
    return Backtest(simulation, on.bars, returns, report.paths(on, decided, plan), bears, asked, decided)


def trades_of(result: Backtest, plan: "Plan") -> pl.DataFrame:
    """Its closed round trips."""
    from engine.simulator.records import trades_frame

    return trades_frame(result.simulation, result.bars, plan.instruments, result.decided)


def trials_of(
    definition: StrategyDefinition, past: History, plan: "Plan", *, memo: Memo | None = None
) -> "list[Trial]":
    """Every parameter set over the full span."""
    from engine.selection import trials

    return trials(definition.signal, parameter_sets(definition), past, plan, of=past.sessions, memo=memo)


def windows_of(definition: StrategyDefinition, sessions: Sequence[date]) -> list[WindowSessions]:
    """The complete walk-forward windows within `sessions`, counted from the first."""
    wanted = definition.configuration.walk_forward
    found = windows(
        len(sessions),
        in_sample=wanted.in_sample,
        out_of_sample=wanted.out_of_sample,
        purge=wanted.purge,
        anchored=wanted.anchored,
    )
    return [_named(n, window, sessions) for n, window in enumerate(found, start=1)]


def complete_windows(project: Project, definition: StrategyDefinition, *, last: date) -> list[WindowSessions]:
    """The windows of a strategy that are complete on the session `last`."""
    dataset = project.datasets[definition.configuration.dataset]
    return windows_of(definition, calendar_of(project, dataset).sessions(dataset.start, last))


def scorecard_inputs(project: Project, definition: StrategyDefinition, lake: Lake, *, last: date) -> str:
    names = [window.name for window in complete_windows(project, definition, last=last)]
    return inputs.scorecard(project, definition, lake, family=family_of(lake, definition), windows=names)


def window_called(name: str, project: Project, definition: StrategyDefinition, last: date) -> WindowSessions:
    """The window `name` of the sessions up to `last`; WindowNotCompleteError when it is not complete by then."""
    complete = {window.name: window for window in complete_windows(project, definition, last=last)}
    if name not in complete:
        newest = max(complete, default=None)
        raise WindowNotCompleteError(definition.configuration.key, name, last=last, newest=newest)
    return complete[name]


def walk_of(
    definition: StrategyDefinition, past: History, plan: "Plan", window: WindowSessions, *, memo: Memo | None = None
) -> "Walked":
    from engine.selection import walk

    return walk(
        definition.signal,
        parameter_sets(definition),
        past,
        plan,
        in_sample=window.in_sample,
        out_of_sample=window.out_of_sample,
        memo=memo,
    )


def window_row(key: str, window: WindowSessions, walked: "Walked", *, n_sets: int) -> dict[str, Any]:
    """A row of the table `windows`."""
    from engine.statistics import sharpe_ratio

    returns = walked.returns["return"].to_numpy()
    return {
        "strategy": key,
        "window": window.name,
        "in_sample_first": window.in_sample[0],
        "in_sample_last": window.in_sample[-1],
        "oos_first": window.out_of_sample[0],
        "oos_last": window.out_of_sample[-1],
        "n_sets": n_sets,
        "params": json.dumps(walked.chosen.params),
        "in_sample_sharpe": walked.chosen.sharpe,
        "oos_sharpe": sharpe_ratio(returns),
        "oos_net_return": float((1 + walked.returns["return"]).product() - 1),
        "oos_trades": len(walked.simulation.trades),
    }


def measure(
    lake: Lake,
    project: Project,
    definition: StrategyDefinition,
    *,
    last: date,
    returns: Floats,
    trades: pl.DataFrame,
    windows: pl.DataFrame,
    oos_returns: Floats,
    trial_sharpes: Sequence[float],
    bears: Mapping[str, tuple[float | None, str | None]],
    certified: bool,
) -> dict[str, Measurement]:
    """Every metric that is measured today, by the names of `quality.evidence.METRICS`; `bears` are values and reasons."""
    from engine.scorecard import backtest_metrics, overfitting_metrics, regime_metrics, walk_forward_metrics

    dataset = project.datasets[definition.configuration.dataset]
    per_year = project.promotion.periods_per_year[dataset.calendar]
    instruments = [instrument.id for instrument in definition.configuration.chosen_instruments(dataset)]
    return {
        **measured(_data_metrics(lake, dataset, instruments, last=last), table="sla_record"),
        **measured({"look_ahead_certificate": float(certified)}, table="certificates"),
        **measured(
            backtest_metrics(returns, trades, periods_per_year=per_year),
            table="trades",
            reasons=_why_not_traded(trades),
        ),
        **measured(
            regime_metrics(trades, cash=definition.configuration.account.cash),
            table="trades",
            reasons={"net_return_worst_regime": "no trade was closed in a regime that is known"},
        ),
        **measured(
            {name: math.nan if value is None else value for name, (value, _) in bears.items()},
            table="backtest_report",
            reasons={name: reason for name, (_, reason) in bears.items() if reason},
        ),
        **measured(
            walk_forward_metrics(windows, oos_returns, periods_per_year=per_year),
            table="windows",
            reasons=_why_not_walked(windows),
        ),
        **measured(overfitting_metrics(returns, trial_sharpes), table="trials"),
    }


def _why_not_traded(trades: pl.DataFrame) -> dict[str, str]:
    if trades.is_empty():
        return dict.fromkeys(
            ("sharpe", "profit_factor", "profit_concentration", "ambiguous_share"), "no trade was closed"
        )
    flat = "no trade made or lost anything"
    return {"sharpe": "the returns never vary", "profit_factor": flat, "profit_concentration": "no trade made a profit"}


def _why_not_walked(windows: pl.DataFrame) -> dict[str, str]:
    if windows.is_empty():
        names = ("oos_sharpe", "oos_sharpe_lower", "oos_net_return", "degradation", "oos_windows_positive")
        return dict.fromkeys(names, "no walk-forward window is complete")
    flat = "the out-of-sample returns never vary"
    return {
        "oos_sharpe": flat,
        "oos_sharpe_lower": flat,
        "degradation": "the windows' mean in-sample Sharpe ratio is not above zero, or one of the two has no value",
    }


def _data_metrics(lake: Lake, dataset: Dataset, instruments: Sequence[str], *, last: date) -> dict[str, float]:
    """Completeness and quarantine over exactly the sessions and instruments that were used."""
    mine, used = pl.col("instrument").is_in(list(instruments)), pl.col("session").is_between(dataset.start, last)
    record = lake.scan("sla_record", dataset=dataset.name).filter(mine, used).collect()
    refused = lake.scan("quarantine", dataset=dataset.name).filter(mine, used).select(pl.len()).collect().item()
    accepted = lake.scan("bars", dataset=dataset.name).filter(mine, used).select(pl.len()).collect().item()
    completeness = record.filter(pl.col("rule") == "completeness")["value"].min()
    return {
        "completeness_min": float("nan") if completeness is None else float(completeness),  # type: ignore[arg-type]
        "sla_breaches": float(record.filter(~pl.col("passed")).height),
        "quarantined_share": refused / (refused + accepted) if refused + accepted else float("nan"),
    }


def _named(n: int, window: Window, sessions: Sequence[date]) -> WindowSessions:
    inside, outside = window.in_sample, window.out_of_sample
    return WindowSessions(f"w{n:03d}", sessions[inside.start : inside.stop], sessions[outside.start : outside.stop])


def family_of(lake: Lake, definition: StrategyDefinition) -> str:
    """The family its trials count for: that in which the same code was first seen, else its own."""
    first = lake.read("trials", code=definition.code_hash).sort("first_seen")
    return definition.configuration.trials_family if first.is_empty() else str(first["family"][0])


def _midnight_us(day: date) -> int:
    return int(datetime.combine(day, time(), tzinfo=UTC).timestamp() * 1_000_000)
