"""Negative controls: strategies that must be refused. Each goes through the whole gate, every night.

A control is measured by the functions that measure a strategy and judged by the same policy; it
is never registered, so it has no stage. If one is ever approved, all promotions freeze.

`look_ahead` sees the next opens, through `engine.causal.derived`, a door that no strategy has. It
keeps every rule that looks at results. Only the proof refuses it.
"""

import inspect
from typing import Any

import dagster as dg
import polars as pl
from pydantic import JsonValue

from assets import inputs, research
from assets.certificates import certify, known_of
from assets.promotion import BY, evidence_of
from engine.bars import timeframe_us
from engine.causal import Bars, Column, derived
from engine.strategy import Signals, Strategy
from quality import ledger as chain
from quality import references, tables
from quality.datasets import Dataset
from quality.hashes import code_hash, document_hash
from quality.promotion import Decision, decide
from quality.strategies import StrategyConfiguration
from resources.clock import now
from resources.lake import Lake
from resources.ledger_store import Ledger
from resources.project import Project, StrategyDefinition


class LookAhead(Strategy):
    """Long through the bars that will rise: from tomorrow's open to the open after `bars` more."""

    bars: int = 1

    def signals(self, bars: Bars) -> Signals:
        entry, later = _ahead(bars.open, 1), _ahead(bars.open, 1 + self.bars)
        return Signals(enter=later > entry, exit=later <= entry)


CONTROLS: dict[str, type[Strategy]] = {"look_ahead": LookAhead}


def control_assets(project: Project) -> list[dg.AssetsDefinition]:
    @dg.multi_asset(
        name="judge_controls",  # a step may not be called as the job is
        specs=[
            dg.AssetSpec(
                "controls",
                deps=[dg.AssetDep([dataset_of(project).name, "bars"], partition_mapping=dg.AllPartitionMapping())],
                group_name="promotion",
                kinds={"polars", "deltalake"},
                description="Strategies that must be refused, through the whole gate: what the gate said.",
            )
        ],
    )
    def controls(context: dg.AssetExecutionContext, lake: Lake, ledger: Ledger) -> dg.MaterializeResult:
        last = inputs.newest_session(lake, dataset_of(project), context.run.tags)
        current = inputs.controls(project, definitions(project), lake, last=last)
        decisions = {name: judge(name, project, lake, last=last) for name in CONTROLS}
        lake.replace("control_record", control_rows(decisions), control=list(CONTROLS))
        freeze_if_approved(decisions, ledger)
        inputs.record(lake, "controls", {inputs.ALL: current}, run_id=context.run.run_id)
        return dg.MaterializeResult(
            metadata={
                "refused": sum(not decision.approved for decision in decisions.values()),
                "of": len(decisions),
                **{name: f"refused by {', '.join(failed_rules(one))}" for name, one in decisions.items()},
            }
        )

    return [controls]


def judge(name: str, project: Project, lake: Lake, *, last: Any) -> Decision:
    """Measure a control as if it were a strategy, and hold it against the rules for paper."""
    definition = definition_of(name, project)
    past, plan = research.history_of(lake, project, definition, last=last), research.plan_of(project, definition)
    certificate = certify(project, definition, past, plan, known_of(lake, project, definition, last=last))
    memo = research.columns_of(lake, past, plan)
    backtest = research.backtest_of(definition, past, plan, memo=memo)
    trials = research.trials_of(definition, past, plan, memo=memo)
    walked = [
        (window, research.walk_of(definition, past, plan, window, memo=memo))
        for window in research.windows_of(definition, past.sessions)
    ]
    rows = [research.window_row(definition.configuration.key, *one, n_sets=len(trials)) for one in walked]
    metrics = research.measure(
        lake,
        project,
        definition,
        last=last,
        returns=backtest.returns["return"].to_numpy(),
        trades=research.trades_of(backtest, plan),
        windows=tables.frame("windows", rows),
        oos_returns=pl.concat([one.returns["return"] for _, one in walked]).to_numpy()
        if walked
        else pl.Series([]).to_numpy(),
        trial_sharpes=[trial.sharpe for trial in trials],
        bears={name: (found.value, found.reason) for name, found in backtest.bears._asdict().items()},
        certified=certificate.certified,
    )
    dataset = dataset_of(project)
    used = inputs.data_used(inputs.held(lake, dataset), [one.id for one in dataset.instruments], last=last)
    evidence = evidence_of(
        project, definition, used=used, as_of=last, certificate=certificate.model_dump(mode="json"), metrics=metrics
    )
    return decide(project.promotion, evidence, "paper")


def definition_of(name: str, project: Project) -> StrategyDefinition:
    """A control as a strategy definition, on all instruments of its data set, by costs that cover them."""
    signal, dataset = CONTROLS[name], dataset_of(project)
    costs = references.costs_for(dataset, project.costs)[0]  # a project is not loaded without one
    configuration = StrategyConfiguration.model_validate(
        {
            "schema": 1,
            "name": f"control_{name}",
            "version": "1.0.0",
            "author": BY,
            "dataset": dataset.name,
            "instruments": "all",
            "timeframe": dataset.timeframe,
            "account": {"cash": 100_000.0, "currency": dataset.instruments[0].settle, "capital": "shared"},
            "params": {"bars": {"value": 1, "min": 1, "max": 2, "step": 1}},
            "size": {"model": "equity_share", "share": 1 / len(dataset.instruments)},
            "costs": costs,
            "walk_forward": {"in_sample": "500d", "out_of_sample": "500d", "purge": "5d"},
        }
    )
    source = inspect.getsource(signal)
    identity = document_hash(configuration.model_dump(mode="json", by_alias=True))
    return StrategyDefinition(configuration, signal, source, code_hash([source]), identity)


def definitions(project: Project) -> list[StrategyDefinition]:
    return [definition_of(name, project) for name in CONTROLS]


def dataset_of(project: Project) -> Dataset:
    """The data set the controls run on: that of the longest bars, which is the quickest to prove anything on."""
    return max(project.datasets.values(), key=lambda dataset: (timeframe_us(dataset.timeframe), dataset.name))


def control_rows(decisions: dict[str, Decision]) -> pl.DataFrame:
    """Rows of the table `control_record`."""
    rows = [
        {"control": name, "refused": not one.approved, "failed_rules": failed_rules(one), "decision": one.id}
        for name, one in decisions.items()
    ]
    return tables.frame("control_record", rows)


def failed_rules(decision: Decision) -> list[str]:
    return [verdict.metric for verdict in decision.verdicts if not verdict.passed]


def freeze_if_approved(decisions: dict[str, Decision], ledger: Ledger) -> None:
    """A gate that approves a cheater promotes nobody any more, until a person says otherwise."""
    approved = [name for name, decision in decisions.items() if decision.approved]
    if approved:
        body: dict[str, JsonValue] = {"reason": f"negative control approved: {', '.join(approved)}"}
        draft = chain.Draft(kind="frozen", at=now(), by=BY, strategy=None, body=body)
        ledger.store().append(draft, only_if=lambda entries: not chain.is_frozen(entries))


def _ahead(column: Column, bars: int) -> Column:
    """The value `bars` bars later: what no strategy can say."""
    return derived(lambda values: values.shift(-bars), column, name="ahead", settings={"bars": bars})
