"""`gauntlet import FILE`: one bar file by hand, into a data set of any kind."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    import polars as pl

    from pipelines.workplace import Workplace
    from quality.datasets import Dataset, Instrument
    from quality.suspicions import Suspicion
    from resources.bar_files.reading import BarFile, Series
    from resources.calendars import Calendar
    from resources.sources.protocol import Delivery

Label = Literal["open", "close"]
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_PRICES = ["open", "high", "low", "close"]


def import_file(
    file: Annotated[Path, typer.Argument(help="The file; what it is, is read from what is in it.")],
    dataset: Annotated[str, typer.Option(help="The data set it is for.")],
    instrument: Annotated[str, typer.Option(help="Whose bars they are: an id of the data set.")],
    format_name: Annotated[str | None, typer.Option("--format", help="The layout, where it cannot be told.")] = None,
    *,
    timezone: Annotated[str | None, typer.Option(help="Of its times, where it does not say: America/New_York.")] = None,
    label: Annotated[Label | None, typer.Option(help="What a time is of its bar, where it does not say.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of sentences.")] = False,
) -> None:
    """Keep the bars of a file as a receipt; the night judges them like any other. The file stays where it is."""
    from pipelines.run_night import named
    from pipelines.workplace import open_workplace
    from resources import lock, statements
    from resources.clock import now
    from resources.inbox import printable
    from resources.intake import keep
    from resources.market import calendar_of
    from resources.sources.files_source import delivery, read_for, statement

    workplace = open_workplace()
    into, whose = named(workplace, dataset, instrument)
    calendar = calendar_of(workplace.project, into)
    read, _ = read_for(
        into,
        calendar,
        file,
        format_name=format_name,
        timezone=timezone,
        label=label,
        project=workplace.settings.project,
    )
    series, at = _series(read, file, whose), now()
    given = delivery(into, calendar, whose.id, series, origin=printable(file.name), at=at)
    result = _result(workplace, into, whose, read, series, given=given, at=at)  # before anything is kept
    with lock.held(workplace.settings.lock, purpose="gauntlet import", wait=False):
        got = keep(workplace.lake, into, [given], at=at, source="files")
        if stated := statement(read, given, series, source="files"):
            statements.keep(workplace.lake, into.name, [stated], at=at, receipts=got.receipts)
    result["new"] = not got.receipts.is_empty()
    typer.echo(json.dumps(result, indent=2) if as_json else _told(result))


def _series(read: "BarFile", file: Path, instrument: "Instrument") -> "Series":
    from resources.errors import NoSuchSeriesError
    from resources.sources.files_source import answering

    if len(read.series) == 1:
        return read.series[0]
    for series in read.series:
        if answering(series.name or "", [instrument], whole=True):
            return series
    raise NoSuchSeriesError(file.name, instrument.id, [series.name or "" for series in read.series])


def _result(
    workplace: "Workplace",
    dataset: "Dataset",
    instrument: "Instrument",
    read: "BarFile",
    series: "Series",
    *,
    given: "Delivery",
    at: datetime,
) -> dict[str, Any]:
    """What is said of an import, but for `new`."""
    from resources.market import calendar_of, listed
    from resources.sources.files_source import beside_held

    calendar = calendar_of(workplace.project, dataset)
    first, last = max(given.first, dataset.start), min(given.last, dataset.end or given.last)
    due = listed(calendar.due(first, max(first, last), dataset.timeframe), instrument)
    due = due.filter(due["session"] <= last)
    stamps = given.rows["ts"].drop_nulls()
    span = stamps.sort().gather([0, -1]).dt.strftime(_STAMP)
    return {
        "file": given.origin,
        "format": read.format,
        "timeframe": read.timeframe,
        "dataset": dataset.name,
        "instrument": instrument.id,
        "rows": given.rows.height,
        "first": span[0],
        "last": span[1],
        "sessions": due["session"].n_unique(),
        "due": due.height,
        "present": due.join(given.rows, on="ts", how="semi").height,
        "suspicious": [
            *_suspicious(dataset, instrument, read, given),
            *_of_times(dataset, instrument, calendar, stamps, due, at=at),
            *_of_volume(dataset, given),
            *(found.sentence for found in _within(dataset, calendar, read, series, due)),
            *(found.sentence for found in beside_held(workplace.lake, dataset, calendar, given, series.actions)),
        ],
        "next": f"gauntlet nightly --dataset {dataset.name}",
    }


def _suspicious(dataset: "Dataset", instrument: "Instrument", read: "BarFile", given: "Delivery") -> Iterator[str]:
    """What a person should look at: nothing of it stops an import, and the night judges every row."""
    from resources.sources.files_source import answering

    named = read.series[0].name
    if len(read.series) == 1 and named and not answering(named, [instrument], whole=True):
        yield f"the file calls its bars {named}, not {instrument.id}"
    by_name = answering(given.origin, dataset.instruments, whole=False)
    if by_name and instrument.id not in by_name:
        yield f"the file's name says {' or '.join(by_name)}, not {instrument.id}"
    if given.first < dataset.start or given.last > (dataset.end or given.last):
        span = f"{dataset.start} to {dataset.end}" if dataset.end else f"{dataset.start} on"
        yield f"it reaches from {given.first} to {given.last}, and the data set holds {span}: the rest is kept and not used"
    without_ts, without_price = given.rows["ts"].null_count(), len(given.rows) - len(given.rows.drop_nulls(_PRICES))
    if without_ts:
        yield f"{without_ts} rows have no readable time"
    if without_price:
        yield f"{without_price} rows lack a price"


def _of_times(
    dataset: "Dataset",
    instrument: "Instrument",
    calendar: "Calendar",
    stamps: "pl.Series",
    due: "pl.DataFrame",
    *,
    at: datetime,
) -> Iterator[str]:
    """Stamps against the bars due, which are those of the data set's sessions that the file speaks for."""
    import polars as pl

    present = due.join(stamps.to_frame(), on="ts", how="semi")
    not_due = stamps.filter(_within_sessions(stamps, due, calendar, dataset.timeframe)).to_frame()
    n_not_due = not_due.join(due, on="ts", how="anti").height
    if n_not_due:
        yield f"{n_not_due} rows are of times at which the calendar {dataset.calendar} has no bar of {instrument.id}"
    if n_future := int((stamps > at).sum()):
        yield f"{n_future} rows are of times after now, {at:%Y-%m-%d %H:%M}Z: they are kept, and refused by the rules"
    if stamps.len() > stamps.n_unique():
        yield f"{stamps.len() - stamps.n_unique()} rows have the time of another"
    if not present.is_empty():
        session, ts = present.sort("ts").select("session", "ts").row(-1)
        n_early = due.filter(pl.col("session") == session, pl.col("ts") > ts, pl.col("known_at") <= at).height
        if n_early:
            yield f"the last session, {session}, ends {n_early} {'bar' if n_early == 1 else 'bars'} early"


def _of_volume(dataset: "Dataset", given: "Delivery") -> Iterator[str]:
    if dataset.volume == "traded" and given.rows["volume"].null_count() == given.rows.height:
        yield f"no row has a volume, and those of {dataset.name} are what traded (`volume: traded`)"


def _within(
    dataset: "Dataset",
    calendar: "Calendar",
    read: "BarFile",
    series: "Series",
    due: "pl.DataFrame",
) -> "list[Suspicion]":
    """What `gauntlet check` would find suspicious in the series itself; where bars are due, in those of their sessions."""
    from quality.suspicions import Series, within

    rows, adjusted_close = series.rows, series.adjusted_close
    if due.height:
        inside = _within_sessions(rows["ts"], due, calendar, dataset.timeframe).fill_null(value=False)
        rows, adjusted_close = rows.filter(inside), None if adjusted_close is None else adjusted_close.filter(inside)
    found = within(
        Series(
            file="",  # one alone: no sentence names it
            name="",
            timeframe=read.timeframe,
            rows=rows,
            due=due if due.height else None,
            actions=series.actions,
            adjusted_close=adjusted_close,
        )
    )
    return [one for one in found if one.name != "volume" or dataset.volume != "none"]


def _within_sessions(stamps: "pl.Series", due: "pl.DataFrame", calendar: "Calendar", timeframe: str) -> "pl.Series":
    """Which stamps lie from the open of the first session with bars due to the open of the one after the last."""
    import polars as pl

    from engine.bars import timeframe_us

    if due.is_empty():
        return stamps.is_null()
    first, last = due["session"][0], due["session"][-1]
    if timeframe_us(timeframe) == timeframe_us("1d"):  # labelled by their dates
        return stamps.dt.date().is_between(first, last)
    sessions = calendar.closes(first, last)
    opens = sessions.filter(pl.col("session") == first)["open"].item()
    after = sessions.filter(pl.col("session") > last)["open"]
    until = after.item() if after.len() else sessions["close"][-1]
    return stamps.is_between(opens, until, closed="left")


def _told(result: dict[str, Any]) -> str:
    kept = "kept as a new receipt" if result["new"] else "held already: nothing was added"
    bars = (
        f"{result['rows']} rows of {result['instrument']}, {result['timeframe']} bars in the layout {result['format']}"
    )
    due = f"{result['present']} of {result['due']} bars due in {result['sessions']} sessions of {result['dataset']}"
    lines = [
        f"{result['file']}: {bars}, {result['first']} to {result['last']}; {kept}",
        f"{due} are among them",
        *(f"suspicious: {found}" for found in result["suspicious"]),
        f"next: {result['next']} judges them",
    ]
    return "\n".join(lines)
