"""Reviews: may a strategy version move up a stage? Evidence is gathered, judged, and the ledger says what was decided."""

import json
from datetime import datetime
from typing import Any, NamedTuple

import dagster as dg
import polars as pl

from assets import inputs, research
from assets.backtest import definition_of
from assets.partitions import STRATEGIES
from assets.scorecard import measured_until, metrics_from
from quality import ledger as chain
from quality import tables
from quality.evidence import DataUsed, Evidence, Hashes, measured
from quality.hashes import document_hash
from quality.promotion import Decision, Target, decide
from resources.clock import now
from resources.commit import commit_of
from resources.errors import NoNextStageError, NotMeasuredError, StaleEvidenceError, UnregisteredError
from resources.lake import Lake
from resources.ledger_store import Ledger, LedgerStore
from resources.project import Project, StrategyDefinition
from resources.settings import engine_hash, settings

NEXT_STAGE: dict[chain.Stage, Target] = {"lab": "paper", "paper": "live"}
BY = "gauntlet"


class Review(NamedTuple):
    decision: Decision
    appended: tuple[str, ...]  # kinds of the ledger entries it made


def promotion_reviews(project: Project) -> list[dg.AssetsDefinition]:
    @dg.asset(
        partitions_def=STRATEGIES,
        deps=["scorecard", "controls"],
        group_name="promotion",
        kinds={"ledger"},
        description="The decision on a strategy version: every rule of the policy, passed or failed, in the ledger.",
    )
    def promotion_review(context: dg.AssetExecutionContext, lake: Lake, ledger: Ledger) -> dg.MaterializeResult:
        key, definition = context.partition_key, definition_of(project, context.partition_key)
        standing = standing_of(project, ledger.store(), key)
        current = inputs.review(project, lake, key, standing)
        to = NEXT_STAGE.get(standing.stage)
        if to is None:
            inputs.record(lake, "review", {key: current}, run_id=context.run.run_id)
            return dg.MaterializeResult(metadata={"stage": standing.stage, "decision": "there is no stage above"})
        made = review(project, definition, lake, ledger.store(), to=to, at=now())
        ledger.publish_head()
        inputs.record(lake, "review", {key: current}, run_id=context.run.run_id)
        return dg.MaterializeResult(
            metadata={
                "approved": made.decision.approved,
                "decision": made.decision.id,
                "evidence": made.decision.evidence,
                "stage": standing_of(project, ledger.store(), key).stage,
                "appended": ", ".join(made.appended) or "nothing: the ledger says so already",
                "verdicts": dg.MetadataValue.md("\n".join(f"- {sentence(one)}" for one in made.decision.verdicts)),
            }
        )

    return [promotion_review]


def review(
    project: Project, definition: StrategyDefinition, lake: Lake, ledger: LedgerStore, *, to: Target, at: datetime
) -> Review:
    """Judge the evidence that is there, and append to the ledger what it does not say yet.

    For a stage that is not the next one it is an answer to a question, and nothing is appended.
    """
    policy, key = project.promotion, definition.configuration.key
    gathered = gather(project, definition, lake)
    keep(lake, gathered)
    decision = decide(policy, gathered, to)
    if NEXT_STAGE.get(standing_of(project, ledger, key).stage) != to:
        return Review(decision, appended=())
    document = {"strategy": key, "decision": decision.id, "document": json.dumps(decision.document())}
    lake.replace("reviews", tables.frame("reviews", [document]), strategy=key)
    refused = lake.read("control_record")["refused"]
    gate_holds = not refused.is_empty() and bool(refused.all())
    expires = policy.evidence_expires_days
    drafts: list[tuple[dict[str, Any], Any]] = [
        (
            {"kind": "policy", "strategy": None, "body": policy.document()},
            lambda entries: chain.policy_is_new(entries, policy),
        ),
        (
            {"kind": "decision", "strategy": key, "body": decision.document()},
            lambda entries: chain.review_is_new(entries, decision, now=at, expires_days=expires),
        ),
        (
            {"kind": "promoted", "strategy": key, "body": {"to": to, "decision": decision.id}},
            lambda entries: gate_holds and chain.promotion_is_due(entries, decision, policy),
        ),
    ]
    appended = []
    for draft, wanted in drafts:
        entry = ledger.append(chain.Draft(at=at, by=BY, **draft), only_if=wanted)
        if entry is not None:
            appended.append(entry.kind)
    return Review(decision, tuple(appended))


def gather(project: Project, definition: StrategyDefinition, lake: Lake) -> Evidence:
    """The evidence on a strategy version, from what the lake holds of it.

    Raises:
        NotMeasuredError: it has no scorecard yet.
        StaleEvidenceError: code, configuration or bars are no longer those that were measured.
    """
    key, configuration = definition.configuration.key, definition.configuration
    dataset = project.datasets[configuration.dataset]
    scorecard = lake.read("scorecards", strategy=key)
    if scorecard.is_empty():
        raise NotMeasuredError(key)
    last = measured_until(lake, key)
    certificate = lake.read("certificates", strategy=key)
    current = {
        "backtest": inputs.research(project, definition, lake, last=last),
        "scorecard": research.scorecard_inputs(project, definition, lake, last=last),
    }
    stale = [step for step, value in current.items() if inputs.recorded(lake, step).get(key) != value]
    if stale or certificate["code"].unique().to_list() != [research.identity_of(project, definition)]:
        raise StaleEvidenceError(key, stale or ["certificate"])
    traded = [instrument.id for instrument in configuration.chosen_instruments(dataset)]
    refused = lake.read("control_record")["refused"]
    gate = {"controls_refused": None if refused.is_empty() else float(refused.all())}
    return evidence_of(
        project,
        definition,
        as_of=last,
        used=inputs.data_used(inputs.held(lake, dataset), traded, last=last),
        certificate=_certificate(certificate),
        metrics={**metrics_from(scorecard), **measured(gate, table="control_record")},
    )


def evidence_of(project: Project, definition: StrategyDefinition, *, used: inputs.DataUsed, **found: Any) -> Evidence:
    """`found` (as_of, certificate, metrics) with the hashes of all it depends on."""
    commit = commit_of(settings().project)
    return Evidence(
        strategy=definition.configuration.key,
        hashes=Hashes(
            code=definition.code_hash,
            configuration=definition.configuration_hash,
            policy=document_hash(project.promotion.document()),
            engine=engine_hash(),
        ),
        commit=commit.id,
        dirty=commit.dirty,
        data={definition.configuration.dataset: DataUsed(**used._asdict())},
        **found,
    )


def keep(lake: Lake, gathered: Evidence) -> None:
    """Keep the document behind a decision under its id; one that is there already stays as it is."""
    if not lake.read("evidence", id=gathered.id).is_empty():
        return
    row = {
        "id": gathered.id,
        "strategy": gathered.strategy,
        "as_of": gathered.as_of,
        "document": gathered.canonical().decode(),
    }
    lake.replace("evidence", tables.frame("evidence", [row]), id=gathered.id)


def next_stage(project: Project, ledger: LedgerStore, key: str) -> Target:
    """The stage above the one a strategy stands in; NoNextStageError when there is none."""
    standing = standing_of(project, ledger, key)
    if standing.stage not in NEXT_STAGE:
        raise NoNextStageError(key, standing.stage)
    return NEXT_STAGE[standing.stage]


def standing_of(project: Project, ledger: LedgerStore, key: str) -> chain.Standing:
    """Where a strategy stands; UnregisteredError when it was never registered."""
    standings = chain.stages(ledger.entries(), expires_days=project.promotion.evidence_expires_days)
    if key not in standings:
        raise UnregisteredError(key)
    return standings[key]


def sentence(verdict: Any) -> str:
    return f"{'passed' if verdict.passed else '**failed**'}: {verdict}"


def _certificate(rows: pl.DataFrame) -> dict[str, Any] | None:
    if rows.is_empty():
        return None
    laws = rows.sort("law").select("law", "passed", "first_bar", "column", "detail").to_dicts()
    return {
        "certified": bool(rows["passed"].all()),
        "laws": laws,
        "bars_checked": int(rows["bars_checked"][0]),
        "code": rows["code"][0],
    }
