"""What each piece of work is computed from, as one hash: same inputs, same result, so not computed again.

Everything that computes also depends on the project's own code and pinned packages (`numbers_hash`).
An asset records the hash of what it read in `work_record`; the planner computes the same hash
from what is there now and asks for what differs.

| step | partition | inputs |
|---|---|---|
| `bars:<dataset>` | the data set's | configuration, SLA policy, the rules' code, the standing receipts that cover it, its corporate actions |
| `actions:<dataset>` | all | instruments, source |
| `features:<dataset>` | the data set's | configuration, bars and corporate actions of every session up to its end |
| `backtest` | strategy | its code and configuration, costs, the data set's shape, all sessions up to `as_of` |
| `walk_forward` | strategy and window | the same, up to the window's last session |
| `scorecard` | strategy | its backtest, its complete windows, the trials of its family, sessions per year |
| `controls` | control | as `backtest`, and the promotion policy |
| `review` | strategy | its scorecard, the controls, the promotion policy, its stage |
| `warehouse` | all | the version of every table |
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from hashlib import sha256
from typing import NamedTuple

import polars as pl

from assets.partitions import as_of, key_format, partition_of
from quality import sla, tables
from quality.datasets import Dataset
from quality.declarations import asks_for_others
from quality.hashes import document_hash
from quality.ledger import Standing
from quality.regimes import RegimeTerms
from quality.strategies import InUniverse, StrategyConfiguration
from resources.clock import now
from resources.errors import NothingHeldError
from resources.lake import Condition, Lake
from resources.market import corrections_of
from resources.project import Project, StrategyDefinition
from resources.retractions import standing_receipts
from resources.settings import numbers_hash

Inputs = dict[str, str]
"""Input hash by partition key."""

ALL = "all"
"""The partition of work that has none."""


class DataUsed(NamedTuple):
    """Exactly which bars were read: a hash over them, and the newest receipt behind them."""

    digest: str
    receipt_sequence: int


class Read(NamedTuple):
    """How far bars were read: the newest receipt behind them, and the last session."""

    receipt_sequence: int | None
    last_session: date | None


class Held(NamedTuple):
    """What says which bars of a data set are held, in order."""

    digests: pl.DataFrame
    failed: pl.DataFrame  # session instrument failed: of enforced rules
    actions: pl.DataFrame
    receipts: pl.DataFrame


def newest_session(lake: Lake, dataset: Dataset, tags: Mapping[str, str]) -> date:
    """The newest session held, or an earlier one that the run was told to stop at."""
    digests = lake.read("digests", dataset=dataset.name, instrument=dataset.ids)
    newest: date | None = digests["session"].max()  # type: ignore[assignment]
    if newest is None:
        raise NothingHeldError(dataset.name)
    return as_of(tags, newest)


def recorded(lake: Lake, step: str) -> Inputs:
    rows = lake.read("work_record", step=step)
    return dict(zip(rows["partition"], rows["inputs"], strict=True))


def record(lake: Lake, step: str, inputs: Inputs, *, run_id: str, read: Read = Read(None, None)) -> None:  # noqa: B008 - a value
    """Remember what was computed from which inputs, and how far the bars were read."""
    if not inputs:
        return
    common = {"step": step, "run_id": run_id, "computed_at": now(), **read._asdict()}
    rows = [{**common, "partition": key, "inputs": value} for key, value in inputs.items()]
    lake.replace("work_record", tables.frame("work_record", rows), step=step, partition=list(inputs))


def bars(
    project: Project, dataset: Dataset, receipts: pl.DataFrame, actions: pl.DataFrame, sessions: Iterable[date]
) -> Inputs:
    """Of every partition that `sessions` fall into."""
    wanted = dataset.model_dump(
        mode="json", include={"calendar", "timeframe", "volume", "instruments", "on_conflict", "sla"}
    )
    policy = project.sla[dataset.sla].model_dump(mode="json")
    common = document_hash([wanted, policy, corrections(project, dataset), numbers_hash()])
    labels = _by_partition(dataset, sessions)
    covering, paid = _covering(receipts, labels), _texts(actions.sort(pl.all()), "ex_date", key_format(dataset))
    return {
        key: document_hash([common, [str(label) for label in own], covering.get(key, ""), paid.get(key, "")])
        for key, own in labels.items()
    }


def _covering(receipts: pl.DataFrame, labels: Mapping[str, Sequence[date]]) -> dict[str, str]:
    """Which receipts speak for each partition, as text, in the order they came."""
    keys = list(labels)
    firsts = pl.Series([own[0] for own in labels.values()], dtype=pl.Date)
    lasts = pl.Series([own[-1] for own in labels.values()], dtype=pl.Date)
    pairs = receipts.sort("sequence").select(
        pl.col("sequence").cast(pl.String),
        partition=pl.int_ranges(
            lasts.search_sorted(receipts.sort("sequence")["first_session"], side="left"),
            firsts.search_sorted(receipts.sort("sequence")["last_session"], side="right"),
        ),
    )
    joined = (
        pairs.explode("partition", empty_as_null=False)
        .group_by("partition", maintain_order=True)
        .agg(pl.col("sequence").str.join(" "))
    )
    return {keys[partition]: text for partition, text in joined.rows()}


def corrections(project: Project, dataset: Dataset) -> list[dict[str, object]]:
    """Of the data set's calendar, as a document; why it was corrected changes no result."""
    return [one.model_dump(mode="json", exclude={"why"}) for one in corrections_of(project, dataset)]


def features(project: Project, dataset: Dataset, of: Held, sessions: Iterable[date]) -> Inputs:
    """Of every partition that `sessions` fall into; each depends on all bars and corporate actions up to its last."""
    policy = _making(project, dataset)
    wanted = dataset.model_dump(mode="json", include={"resample", "features", "timeframe", "start", "calendar"})
    chain = document_hash([wanted, policy, corrections(project, dataset), numbers_hash()])
    inputs = {}
    label = key_format(dataset)
    bars, paid = _texts(of.digests, "session", label), _texts(of.actions, "ex_date", label)
    for key in _by_partition(dataset, sessions):
        chain = inputs[key] = _text_hash(f"{chain}\n{bars.get(key, '')}\n{paid.get(key, '')}")
    return inputs


def _making(project: Project, dataset: Dataset) -> dict[str, object]:
    """What of the policy decides which bars there are beyond those that digests cover: folded ones and filled ones."""
    return project.sla[dataset.sla].model_dump(mode="json", include={"resample", "no_trade_bars"})


def _texts(rows: pl.DataFrame, day: str, label: str) -> dict[str, str]:
    """Everything a frame says of each partition, as text, in its order."""
    line = pl.concat_str(pl.all().cast(pl.String).fill_null("-"), separator=" ").alias("line")
    lines = rows.select(pl.col(day).dt.strftime(label).alias("key"), line)
    return dict(lines.group_by("key", maintain_order=True).agg(pl.col("line").str.join("\n")).rows())


def read_by(lake: Lake, step: str, partition: str) -> Read:
    """How far a piece of work that is recorded read; nothing is known of one that is not."""
    rows = lake.read("work_record", step=step, partition=partition).select(*Read._fields).rows()
    return Read(*rows[0]) if rows else Read(None, None)


def read_until(receipts: pl.DataFrame, last: date) -> Read:
    """What reading every bar up to the session `last` reads now."""
    newest = receipts.filter(pl.col("first_session") <= last)["sequence"].max()
    return Read(int(newest or 0), last)  # type: ignore[arg-type]


def held(lake: Lake, dataset: Dataset) -> Held:
    """What is held of a data set's instruments now."""
    of: dict[str, Condition] = {"dataset": dataset.name, "instrument": dataset.ids}
    return Held(
        digests=lake.read("digests", **of).drop("sequence").sort("session", "instrument"),
        failed=sla.failed_sessions(lake.read("sla_record", **of)).filter("failed").sort("session", "instrument"),
        actions=lake.read("corporate_actions", **of).sort("instrument", "ex_date", "kind"),
        receipts=standing_receipts(lake, dataset.name, instrument=dataset.ids).sort("sequence"),
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
    read = [*instruments_read(definition, dataset), *configuration.fx.values()]
    data = data_used(of or held(lake, dataset), read, last=last)
    shape = {"calendar", "timeframe", "resample", "start", "features"}
    return document_hash(
        [
            definition.code_hash,
            definition.configuration_hash,
            project.costs[configuration.costs].model_dump(mode="json"),
            *(
                [project.risk[configuration.risk].model_dump(mode="json")]
                if isinstance(configuration.risk, str)
                else []
            ),
            {name: terms.model_dump(mode="json") for name, terms in regime_terms(project, configuration).items()},
            _making(project, dataset),
            _chosen_by(project, configuration),
            dataset.model_dump(mode="json", include=shape),
            corrections(project, dataset),
            [instrument.model_dump(mode="json") for instrument in traded],
            numbers_hash(),
            data.digest,
            str(last),
        ]
    )


def instruments_read(definition: StrategyDefinition, dataset: Dataset) -> list[str]:
    """Those whose bars its result may hang on, told without running it: all, where it asks for others by name."""
    if asks_for_others(definition.source):
        return dataset.ids
    return [instrument.id for instrument in definition.configuration.chosen_instruments(dataset)]


def regime_terms(project: Project, configuration: StrategyConfiguration) -> dict[str, RegimeTerms]:
    """What the regimes that a strategy trades in allow, by name."""
    return {name: project.regimes[name] for name in (configuration.regimes.allowed if configuration.regimes else ())}


def instruments_seen(definition: StrategyDefinition, dataset: Dataset) -> list[str]:
    """Those it trades, and all of the data set where its signal may ask for others by name."""
    configuration = definition.configuration
    traded = [instrument.id for instrument in configuration.chosen_instruments(dataset)]
    others = dataset.ids if asks_for_others(definition.source) else ()
    return [*traded, *sorted(set(others) - set(traded))]


def decided_by(project: Project, definition: StrategyDefinition) -> list[object]:
    """What else of the project says what a strategy decides: how its data are made, judged and chosen from."""
    dataset = project.datasets[definition.configuration.dataset]
    shape = {"calendar", "timeframe", "resample", "start", "features", "universes"}
    return [
        dataset.model_dump(mode="json", include=shape),
        corrections(project, dataset),
        project.sla[dataset.sla].model_dump(mode="json"),
        [project.universes[name].model_dump(mode="json") for name in dataset.universes],
        {
            name: terms.model_dump(mode="json")
            for name, terms in regime_terms(project, definition.configuration).items()
        },
    ]


def _chosen_by(project: Project, configuration: StrategyConfiguration) -> dict[str, object]:
    """The rules by which it is chosen who may be entered."""
    chosen = configuration.instruments
    return project.universes[chosen.universe].model_dump(mode="json") if isinstance(chosen, InUniverse) else {}


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
