"""What research reads: bars, corporate actions and SLA verdicts of a data set, up to a session.

Whoever reads bars for a decision reads `sla_record` with them. Reading is per instrument; prices
come raw for the simulator and forward-adjusted for the strategy.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from engine.bars import COLUMNS, due_in, forward_adjusted, timeframe_us
from engine.history import History
from quality import sla
from quality.bars import moments
from quality.datasets import Dataset, Instrument
from quality.policies import Correction
from resources.calendars import Calendar, open_calendar
from resources.lake import Between, Condition, Lake
from resources.project import Project
from resources.sources.protocol import Source


def calendar_of(project: Project, dataset: Dataset) -> Calendar:
    """The data set's calendar with the project's dated corrections."""
    return open_calendar(dataset.calendar).corrected(corrections_of(project, dataset))


def corrections_of(project: Project, dataset: Dataset) -> tuple[Correction, ...]:
    """Where the venue kept other hours than its calendar says, as `policies/calendars.yaml` has it."""
    return project.corrections.get(dataset.calendar, ())


def sessions_until(
    dataset: Dataset, calendar: Calendar, source: Source, receipts: pl.DataFrame, *, at: datetime
) -> list[date]:
    """The sessions that should be there at the instant `at`: closed by then, and within what data set and source span.

    Nobody can be asked for files: what was received of such a data set ends where the newest of them ends.
    """
    ends = [calendar.last_closed(at), dataset.end, source.last_session()]
    if dataset.takes_files:
        mine = receipts.filter(pl.col("instrument").is_in(dataset.ids))
        received: date | None = mine["last_session"].max()  # type: ignore[assignment]
        if received is None:
            return []
        ends.append(received)
    last = min(end for end in ends if end is not None)
    return calendar.sessions(dataset.start, last) if last >= dataset.start else []


def listed(due: pl.DataFrame, instrument: Instrument) -> pl.DataFrame:
    """The bars of `due` that one instrument should have: those within its listing."""
    if instrument.listed is None and instrument.delisted is None:
        return due
    return due.filter(pl.col("session").is_between(instrument.listed or date.min, instrument.delisted or date.max))


def raw_rows(
    lake: Lake,
    dataset: Dataset,
    closes: pl.DataFrame,
    instruments: Sequence[str],
    receipts: pl.DataFrame,
    *,
    first: date,
    last: date,
) -> dict[str, pl.DataFrame]:
    """By instrument, every received row that may belong to a session from `first` to `last`, or has no readable ts.

    `sequence line ts open high low close volume`; only rows that one of `receipts` stands for. `closes`: `session open
    close`, with one more session at each end.
    """
    begin, until = owned(closes, first, last)
    wanted: dict[str, Condition] = {"dataset": dataset.name, "instrument": list(instruments)}
    inside = lake.scan("raw_bars", **wanted, ts=Between(begin, until))
    rows = pl.concat([inside, lake.scan("raw_bars", **wanted, ts=None)])
    received = rows.drop("dataset").collect().join(receipts, on=["instrument", "sequence"], how="semi")
    return by_instrument(received, instruments)


def owned(closes: pl.DataFrame, first: date, last: date) -> tuple[datetime, datetime]:
    """From when up to when, without it, a moment belongs to a session from `first` to `last`."""
    sessions = moments(closes).filter(pl.col("session").is_between(first, last))
    begin: datetime = sessions["begin"][0]
    end: datetime = sessions["end"][-1]
    return begin, end


def newest_before(lake: Lake, dataset: Dataset, instruments: Sequence[str], first: date) -> dict[str, pl.DataFrame]:
    """By instrument, the last bar before the session `first` in which something traded, of the month before."""
    window = Between(first - timedelta(days=31), first)
    bars = lake.scan("bars", dataset=dataset.name, instrument=list(instruments), session=window)
    newest = bars.filter(~pl.col("filled")).drop("dataset").sort("ts").group_by("instrument").last().collect()
    return by_instrument(newest, instruments)


def by_instrument(rows: pl.DataFrame, instruments: Iterable[str]) -> dict[str, pl.DataFrame]:
    """The rows of each of `instruments`, which may be none, without the column that says so."""
    parts = rows.partition_by("instrument", as_dict=True, include_key=False, maintain_order=True)
    none = rows.clear().drop("instrument")
    return {instrument: parts.get((instrument,), none) for instrument in instruments}


def history(
    lake: Lake,
    dataset: Dataset,
    calendar: Calendar,
    *,
    instruments: Sequence[str],
    timeframe: str,
    last: date,
    rates: Collection[str] = (),
    magnify: str | None = None,
    universe: str | None = None,
) -> History:
    """Everything a strategy on `timeframe` may be tested on, from the data set's start to the session `last`.

    `rates` are the series that convert currencies, `magnify` the timeframe of the bars that lie inside those traded on,
    `universe` the one whose members may be entered.
    """
    actions = lake.read("corporate_actions", dataset=dataset.name).drop("dataset")
    inside = pl.col("session").is_between(dataset.start, last)
    record = lake.scan("sla_record", dataset=dataset.name).filter(inside).collect()
    longer = [name for name in dataset.timeframes if timeframe_us(name) >= timeframe_us(timeframe)]
    features = tuple(dataset.features) if timeframe == dataset.timeframe else ()
    raw: dict[str, pl.DataFrame] = {}
    finer: dict[str, pl.DataFrame] = {}
    frames: dict[str, dict[str, pl.DataFrame]] = {}
    for instrument in instruments:
        timeframes = [*longer, magnify] if magnify else longer
        bars = raw_bars(lake, dataset, calendar, instrument=instrument, timeframes=timeframes, last=last)
        if magnify:
            finer[instrument] = bars.pop(magnify)
        raw[instrument] = bars[timeframe]
        frames[instrument] = bar_frames(bars, actions.filter(pl.col("instrument") == instrument))
        if features:
            values = lake.read("features", dataset=dataset.name, instrument=instrument).select("ts", *features)
            frames[instrument][timeframe] = frames[instrument][timeframe].join(
                values, on="ts", how="left", maintain_order="left"
            )
    for series in set(rates) - raw.keys():
        bars = raw_bars(lake, dataset, calendar, instrument=series, timeframes=[timeframe], last=last)
        raw[series] = bars[timeframe]
    due = calendar.due(dataset.start, last, dataset.timeframe)
    return History(
        sessions=calendar.sessions(dataset.start, last),
        raw=raw,
        frames=frames,
        actions=actions,
        embargo=sla.embargo(record),
        due=due if timeframe == dataset.timeframe else due_in(due, timeframe),
        finer=finer,
        features=features,
        members=_members(lake, dataset, universe, last=last) if universe else None,
    )


def _members(lake: Lake, dataset: Dataset, universe: str, *, last: date) -> pl.DataFrame:
    """`session instrument` of every member, up to the session `last`."""
    members = lake.read("universe", dataset=dataset.name, universe=universe, member=True)
    return members.filter(pl.col("session") <= last).select("session", "instrument")


def bar_frames(bars: Mapping[str, pl.DataFrame], actions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One instrument's bars as strategies and features see them, by timeframe: carried forward over `actions`."""
    return {name: forward_adjusted(raw, actions) for name, raw in bars.items()}


def raw_bars(
    lake: Lake, dataset: Dataset, calendar: Calendar, *, instrument: str, timeframes: Collection[str], last: date
) -> dict[str, pl.DataFrame]:
    """One instrument's raw bars up to `last`, by timeframe: `session ts known_at open high low close volume`, sorted."""
    wanted, inside = ("session", "ts", "known_at", *COLUMNS), pl.col("session").is_between(dataset.start, last)
    raw = {}
    if dataset.timeframe in timeframes:
        rows = lake.scan("bars", dataset=dataset.name, instrument=instrument).filter(inside)
        due = calendar.due(dataset.start, last, dataset.timeframe).select(pl.col("ts").set_sorted(), "known_at")
        held = _in_order(rows.select("session", "ts", *COLUMNS).collect())
        raw[dataset.timeframe] = held.join(due, on="ts", how="inner", maintain_order="left").select(wanted)
    if longer := [name for name in timeframes if name != dataset.timeframe]:
        rows = lake.scan("resampled_bars", dataset=dataset.name, instrument=instrument, timeframe=longer).filter(inside)
        folded = rows.select("timeframe", *wanted).collect()
        raw |= {name: _in_order(folded.filter(timeframe=name).drop("timeframe")) for name in longer}
    return raw


def _in_order(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars sorted by ts, and known to be: a join of four years' five-minute bars takes 8 ms then, and 45 else."""
    return bars.with_columns(pl.col("ts").set_sorted()) if bars["ts"].is_sorted() else bars.sort("ts")
