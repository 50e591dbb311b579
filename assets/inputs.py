"""What each piece of work is computed from, as one hash: same inputs, same result, so not computed again.

Everything that computes also depends on the project's own code and pinned packages (`numbers_hash`).
An asset records the hash of what it read in `work_record`; the planner computes the same hash
from what is there now and asks for what differs.

| step | partition | inputs |
|---|---|---|
| `bars:<dataset>` | the data set's | configuration, SLA policy, the rules' code, the receipts that cover it |
| `actions:<dataset>` | all | instruments, source |
| `features:<dataset>` | the data set's | configuration, bars and corporate actions of every session up to its end |
| `backtest` | strategy | its code and configuration, costs, the data set's shape, all sessions up to `as_of` |
| `walk_forward` | strategy and window | the same, up to the window's last session |
| `scorecard` | strategy | its backtest, its complete windows, the trials of its family, sessions per year |
| `controls` | control | as `backtest`, and the promotion policy |
| `review` | strategy | its scorecard, the controls, the promotion policy, its stage |
| `warehouse` | all | the version of every table |
"""

from collections.abc import Iterable, Mapping
from datetime import date
from hashlib import sha256
from typing import NamedTuple

import polars as pl

from assets.partitions import as_of, key_format, partition_of
from quality import sla, tables
from quality.datasets import Dataset
from quality.hashes import document_hash
from quality.ledger import Standing
from resources.clock import now
from resources.errors import NothingHeldError
from resources.lake import Lake
from resources.market import closed_sessions
from resources.project import Project, StrategyDefinition
from resources.settings import numbers_hash

Inputs = dict[str, str]
"""Input hash by partition key."""

ALL = "all"
"""The partition of work that has none."""


class DataUsed(NamedTuple):
    """Exactly which bars were read: a hash over them, and the newest receipt behind them."""

    digest: str
    receipt_sequence: int


class Held(NamedTuple):
    """What says which bars of a data set are held, in order."""

    digests: pl.DataFrame
    failed: pl.DataFrame  # session instrument failed: of enforced rules
    actions: pl.DataFrame
    receipts: pl.DataFrame


def newest_session(lake: Lake, dataset: Dataset, tags: Mapping[str, str]) -> date:
    """The newest session held, or an earlier one that the run was told to stop at."""
    newest: date | None = lake.read("digests", dataset=dataset.name)["session"].max()  # type: ignore[assignment]
    if newest is None:
        raise NothingHeldError(dataset.name)
    return as_of(tags, newest)


def recorded(lake: Lake, step: str) -> Inputs:
    rows = lake.read("work_record", step=step)
    return dict(zip(rows["partition"], rows["inputs"], strict=True))


def record(lake: Lake, step: str, inputs: Inputs, *, run_id: str) -> None:
    """Remember what was computed from which inputs."""
    if not inputs:
        return
    at = now()
    rows = [
        {"step": step, "partition": key, "inputs": value, "run_id": run_id, "computed_at": at}
        for key, value in inputs.items()
    ]
    lake.replace("work_record", tables.frame("work_record", rows), step=step, partition=list(inputs))


def bars(project: Project, dataset: Dataset, receipts: pl.DataFrame, sessions: Iterable[date]) -> Inputs:
    """Of every partition that `sessions` fall into."""
    wanted = dataset.model_dump(
        mode="json", include={"calendar", "timeframe", "volume", "instruments", "on_conflict", "sla"}
    )
    policy = project.sla[dataset.sla].model_dump(mode="json")
    corrections = [str(day) for day in closed_sessions(project, dataset)]
    common = document_hash([wanted, policy, corrections, numbers_hash()])
    spans = receipts.select("sequence", "first_session", "last_session").sort("sequence").rows()
    inputs = {}
    for key, labels in _by_partition(dataset, sessions).items():
        covering = [sequence for sequence, first, last in spans if first <= labels[-1] and last >= labels[0]]
        inputs[key] = document_hash([common, [str(label) for label in labels], covering])
    return inputs


def actions(dataset: Dataset) -> Inputs:
    """Of the corporate actions, which a data set has one partition of."""
    instruments = [instrument.model_dump(mode="json") for instrument in dataset.instruments]
    return {ALL: document_hash([instruments, dataset.source.model_dump(mode="json"), numbers_hash()])}


def features(project: Project, dataset: Dataset, of: Held, sessions: Iterable[date]) -> Inputs:
    """Of every partition that `sessions` fall into; each depends on all bars and corporate actions up to its last."""
    policy = project.sla[dataset.sla].resample.model_dump(mode="json")
    wanted = dataset.model_dump(mode="json", include={"resample", "features", "timeframe", "start", "calendar"})
    chain = document_hash([wanted, policy, numbers_hash()])
    inputs = {}
    label = key_format(dataset)
    bars = of.digests.with_columns(key=pl.col("session").dt.strftime(label)).partition_by("key", as_dict=True)
    paid = of.actions.with_columns(key=pl.col("ex_date").dt.strftime(label)).partition_by("key", as_dict=True)
    for key in _by_partition(dataset, sessions):
        rows = [part[(key,)].drop("key").write_csv() for part in (bars, paid) if (key,) in part]
        chain = inputs[key] = _text_hash(chain + "".join(rows))
    return inputs


def held(lake: Lake, dataset: Dataset) -> Held:
    """What is held of a data set now."""
    record = lake.read("sla_record", dataset=dataset.name)
    return Held(
        digests=lake.read("digests", dataset=dataset.name).sort("session", "instrument"),
        failed=sla.failed_sessions(record).filter("failed").sort("session", "instrument"),
        actions=lake.read("corporate_actions", dataset=dataset.name).sort("instrument", "ex_date", "kind"),
        receipts=lake.read("receipts", dataset=dataset.name).sort("sequence"),
    )


def data_used(of: Held, instruments: Iterable[str], *, last: date) -> DataUsed:
    """The bars, failed sessions and corporate actions of `instruments` up to the session `last`."""
    mine, until = pl.col("instrument").is_in(list(instruments)), pl.col("session") <= last
    parts = (
        of.digests.filter(mine, until),
        of.failed.filter(mine, until),
        of.actions.filter(mine, pl.col("ex_date") <= last),
    )
    newest = of.receipts.filter(mine, pl.col("first_session") <= last)["sequence"].max()
    return DataUsed(_text_hash("".join(part.write_csv() for part in parts)), int(newest or 0))  # type: ignore[arg-type]


def research(
    project: Project, definition: StrategyDefinition, lake: Lake, *, last: date, of: Held | None = None
) -> str:
    """Of anything that runs the strategy over all sessions up to `last`; `of` saves reading what is held again."""
    configuration = definition.configuration
    dataset = project.datasets[configuration.dataset]
    traded = configuration.chosen_instruments(dataset)
    data = data_used(of or held(lake, dataset), [instrument.id for instrument in traded], last=last)
    shape = {"calendar", "timeframe", "resample", "start", "features"}
    return document_hash(
        [
            definition.code_hash,
            definition.configuration_hash,
            project.costs[configuration.costs].model_dump(mode="json"),
            project.sla[dataset.sla].resample.model_dump(mode="json"),
            dataset.model_dump(mode="json", include=shape),
            [str(day) for day in closed_sessions(project, dataset)],
            [instrument.model_dump(mode="json") for instrument in traded],
            numbers_hash(),
            data.digest,
            str(last),
        ]
    )


def scorecard(
    project: Project, definition: StrategyDefinition, lake: Lake, *, family: str, windows: Iterable[str]
) -> str:
    """Of the scorecard: what its backtest and the complete `windows` were computed from, and the family's trials."""
    key = definition.configuration.key
    walked = recorded(lake, "walk_forward")
    ratios = lake.read("trial_ratios", family=family).sort("code", "parameters")
    return document_hash(
        [
            recorded(lake, "backtest").get(key),
            [walked.get(f"{key}|{window}") for window in windows],
            _text_hash(ratios.write_csv()),
            project.promotion.periods_per_year,
            numbers_hash(),
        ]
    )


def controls(project: Project, definitions: Iterable[StrategyDefinition], lake: Lake, *, last: date) -> str:
    """Of the night's controls."""
    ran = [research(project, definition, lake, last=last) for definition in definitions]
    return document_hash([*ran, project.promotion.document(), numbers_hash()])


def review(project: Project, lake: Lake, key: str, standing: Standing) -> str:
    """Of a review: what was measured, the policy it is held against, and where the strategy stands."""
    measured = [recorded(lake, "scorecard").get(key), recorded(lake, "controls").get(ALL)]
    return document_hash([*measured, project.promotion.document(), standing.stage])


def warehouse(lake: Lake) -> str:
    """Of the warehouse: the version of every table it shows."""
    return document_hash({name: lake.version(name) for name in tables.TABLES if name != "work_record"})


def _by_partition(dataset: Dataset, sessions: Iterable[date]) -> dict[str, list[date]]:
    labels: dict[str, list[date]] = {}
    for session in sessions:
        labels.setdefault(partition_of(dataset, session), []).append(session)
    return labels


def _text_hash(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"
