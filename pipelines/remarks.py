"""What a person should know of a data set after a night, as sentences.

In this order: what became of every row that was received; the files that its inbox refused; bars that
were restated; jumps of the newest session; and what to say where contradicting rows block it.
"""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

import polars as pl

from pipelines.run_night import Done
from pipelines.summary import received
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from resources.inbox import REFUSED, WHY, folder_of
from resources.lake import Condition
from resources.retractions import retracted

SHOWN_FILES = 10


class Account(NamedTuple):
    """Every row received of a data set's sessions, once."""

    received: int
    accepted: int
    quarantined: int
    twins: int  # identical to another row of their receipt, or superseded by it
    replaced: int  # of the same bar as a row of a newer receipt

    @property
    def sentence(self) -> str:
        return (
            f"of {self.received:,} rows received {self.accepted:,} are accepted, {self.quarantined:,} quarantined, "
            f"{self.twins:,} identical to or superseded by another of their receipt, {self.replaced:,} replaced by newer receipts"
        )


def remarks(workplace: Workplace, done: Done, dataset: Dataset, *, last: date, blocked: bool) -> Iterator[str]:
    """The sentences of one data set, up to the session `last`."""
    told = account(workplace, dataset, last)
    unjudged = " or not judged, as a run failed" if done.failed and told.replaced else ""
    yield told.sentence + unjudged
    yield from _refused(workplace, done, dataset)
    if n_restated := done.restated.get(dataset.name, 0):
        yield f"{n_restated:,} bars were restated: `gauntlet diff {dataset.name} --since DAY` shows them"
    jumps = workplace.lake.read("sla_record", dataset=dataset.name, instrument=dataset.ids, rule="jump", session=last)
    if n_jumps := jumps.filter(~pl.col("passed")).height:
        yield f"{n_jumps:,} of its instruments jump in the newest session, {last}: see the check `jump`"
    if blocked:
        yield from _contradictions(workplace, dataset, last)


def account(workplace: Workplace, dataset: Dataset, last: date) -> Account:
    """What became of the rows received for the data set's sessions up to `last`."""
    lake = workplace.lake
    of: dict[str, Condition] = {"dataset": dataset.name, "instrument": dataset.ids}
    stands = ~pl.col("sequence").is_in(retracted(lake, dataset.name)["sequence"].to_list())  # nor what was made of it
    inside = pl.col("session").is_between(dataset.start, last) & stands
    rows = received(workplace, dataset, last)
    accepted = lake.scan("bars", **of).filter(inside, ~pl.col("filled"))
    quarantined = lake.scan("quarantine", **of).filter(inside).select("sequence", "line")
    good = rows.join(quarantined, on=["sequence", "line"], how="anti").drop_nulls("ts")
    twins = good.group_by("instrument", "sequence").agg(n=pl.len() - pl.col("ts").n_unique()).select(pl.col("n").sum())
    n_rows, n_accepted, n_quarantined = (
        int(frame.select(pl.len()).collect().item()) for frame in (rows, accepted, quarantined)
    )
    n_twins = int(twins.collect().item())
    return Account(n_rows, n_accepted, n_quarantined, n_twins, n_rows - n_accepted - n_quarantined - n_twins)


def _refused(workplace: Workplace, done: Done, dataset: Dataset) -> Iterator[str]:
    files = [one.file for one in done.refused if one.dataset == dataset.name]
    if files:
        shown = ", ".join(files[:SHOWN_FILES])
        more = f" and {len(files) - SHOWN_FILES:,} more" if len(files) > SHOWN_FILES else ""
        folder = folder_of(dataset, workplace.settings) / REFUSED
        yield f"{len(files):,} of its files were refused: {shown}{more}; why, says <name>{WHY} beside each in {folder}"


def _contradictions(workplace: Workplace, dataset: Dataset, last: date) -> Iterator[str]:
    rows = workplace.lake.read("quarantine", dataset=dataset.name, instrument=dataset.ids, session=last)
    contradicting = rows.filter(pl.col("rules").list.contains("conflicting_duplicate")).height
    if contradicting and dataset.on_conflict == "refuse":
        yield (
            f"{contradicting:,} rows of {last} contradict another of the same receipt and time: where the last of them is right, "
            f"say `on_conflict: keep_last` in datasets/{dataset.name}.yaml"
        )
