"""What each piece of work is computed from, as one hash: same inputs, same result, so not computed again.

An asset records the hash of what it read in `work_record`; the planner computes the same hash
from what is there now and asks for what differs.

| step | partition | inputs |
|---|---|---|
| `bars:<dataset>` | the data set's | configuration, SLA policy, the rules' code, the receipts that cover it |
| `features:<dataset>` | the data set's | configuration, engine, digests of every session up to its end |
| `backtest` | strategy | code, configuration, costs, engine, all sessions up to `as_of` |
| `walk_forward` | strategy and window | the same, up to the window's last session |
| `scorecard` | strategy | its backtest, its windows, the trials of its family, sessions per year |
| `controls` | control | as `backtest`, and the promotion policy |
| `review` | strategy | its scorecard, the promotion policy, its stage |
"""

from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import sha256
from typing import NamedTuple

import polars as pl

from assets.partitions import partition_of
from quality import sla, tables
from quality.datasets import Dataset
from quality.hashes import document_hash
from resources.clock import now
from resources.lake import Lake
from resources.project import Project, StrategyDefinition
from resources.settings import engine_hash, source_hash

Inputs = dict[str, str]
"""Input hash by partition key."""

_RULES = ("engine/bars.py", "quality/bars.py", "quality/sla.py")


class DataUsed(NamedTuple):
    """Exactly which bars were read: a hash over them, and the newest receipt behind them."""

    digest: str
    receipt_sequence: int


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
    wanted = dataset.model_dump(mode="json", include={"calendar", "timeframe", "instruments", "on_conflict", "sla"})
    policy = project.sla.sections[dataset.sla].model_dump(mode="json")
    corrections = [str(day) for day in project.closed_sessions(dataset)]
    common = document_hash([wanted, policy, corrections, source_hash(*_RULES)])
    spans = receipts.select("sequence", "first_session", "last_session").sort("sequence").rows()
    inputs = {}
    for key, labels in _by_partition(dataset, sessions).items():
        covering = [sequence for sequence, first, last in spans if first <= labels[-1] and last >= labels[0]]
        inputs[key] = document_hash([common, [str(label) for label in labels], covering])
    return inputs


def features(project: Project, dataset: Dataset, digests: pl.DataFrame, sessions: Iterable[date]) -> Inputs:
    """Of every partition that `sessions` fall into; each depends on all sessions up to its last."""
    policy = project.sla.sections[dataset.sla].resample.model_dump(mode="json")
    wanted = dataset.model_dump(mode="json", include={"resample", "features", "timeframe"})
    chain = document_hash([wanted, policy, engine_hash()])
    inputs = {}
    ordered = digests.sort("session", "instrument")
    by_key = ordered.with_columns(key=_partition_key(dataset)).partition_by("key", as_dict=True)
    for key in _by_partition(dataset, sessions):
        held = by_key.get((key,))
        rows = "" if held is None else held.select("session", "instrument", "digest").write_csv()
        chain = inputs[key] = _text_hash(chain + rows)
    return inputs


def data_used(lake: Lake, dataset: Dataset, instruments: Sequence[str], *, last: date) -> DataUsed:
    """The bars, SLA verdicts and corporate actions of `instruments` up to the session `last`."""
    mine = pl.col("instrument").is_in(list(instruments))
    until = pl.col("session") <= last
    digests = lake.scan("digests", dataset=dataset.name).filter(mine, until).collect().sort("session", "instrument")
    record = lake.scan("sla_record", dataset=dataset.name).filter(mine, until).collect()
    failed = sla.failed_sessions(record).filter("failed").sort("session", "instrument")
    actions = lake.scan("corporate_actions", dataset=dataset.name).filter(mine, pl.col("ex_date") <= last).collect()
    text = digests.write_csv() + failed.write_csv() + actions.sort("instrument", "ex_date", "kind").write_csv()
    newest = lake.scan("receipts", dataset=dataset.name).filter(pl.col("first_session") <= last).collect()["sequence"].max()
    return DataUsed(_text_hash(text), int(newest or 0))  # type: ignore[arg-type]


def research(project: Project, definition: StrategyDefinition, data: DataUsed) -> str:
    """Of anything that runs the strategy over `data`."""
    costs = project.costs.sections[definition.configuration.costs].model_dump(mode="json")
    instruments = project.datasets[definition.configuration.dataset].model_dump(mode="json", include={"instruments"})
    parts = [definition.code_hash, definition.configuration_hash, costs, instruments, engine_hash(), data.digest]
    return document_hash(parts)


def scorecard(project: Project, definition: StrategyDefinition, lake: Lake) -> str:
    """Of the scorecard, from what its backtest and its windows were computed from."""
    key = definition.key
    backtest = recorded(lake, "backtest").get(key)
    windows = {name: value for name, value in recorded(lake, "walk_forward").items() if name.startswith(f"{key}|")}
    n_trials = lake.read("trials", family=definition.configuration.trials_family).height
    sessions = project.promotion.periods_per_year
    return document_hash([backtest, windows, n_trials, sessions, source_hash("assets/scorecard.py")])


def _by_partition(dataset: Dataset, sessions: Iterable[date]) -> dict[str, list[date]]:
    labels: dict[str, list[date]] = {}
    for session in sessions:
        labels.setdefault(partition_of(dataset, session), []).append(session)
    return labels


def _partition_key(dataset: Dataset) -> pl.Expr:
    return pl.col("session").map_elements(lambda session: partition_of(dataset, session), return_dtype=pl.String)


def _text_hash(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"
