"""`gauntlet check FILE…`: what is wrong with files of bars, told without taking them in.

Each file is read by its layout, its series are counted against the calendar and the SLA, and what looks
wrong beyond the rules is said beside it: on stderr where JSON is asked for. Exit 0 passed, 1 an SLA
broken, 2 a file (or an option) that cannot be used. Neither Dagster nor a project is loaded; `--sla`
reads one policy.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import typer

if TYPE_CHECKING:
    import polars as pl

    from quality.policies import ServiceLevel
    from quality.survey import Survey
    from quality.suspicions import Series, Suspicion
    from resources.bar_files.reading import BarFile
    from resources.bar_files.reading import Series as FileSeries
    from resources.calendars import Calendar

Label = Literal["open", "close"]
NO_CALENDAR = "none"
_WIDTH = 160
_HEADINGS = ("layout", "bars", "rows", "first", "last", "complete", "sessions", "")
_DEFECTS = {
    "missing": "bars missing",
    "max_gap_bars": "of them in a row",
    "sessions_below_sla": "sessions below the SLA",
    "duplicates_identical": "rows that repeat an earlier one",
    "duplicates_conflicting": "rows that contradict an earlier one of the same time",
    "out_of_order": "rows earlier than one before them",
    "off_grid": "times off the grid",
    "off_session": "times outside the sessions",
    "unparsable_ts": "unreadable times",
    "null_ohlc": "rows without all four prices",
    "non_positive_price": "rows with a price of zero or less",
    "high_below_body": "highs below their open or close",
    "low_above_body": "lows above their open or close",
    "negative_volume": "volumes below zero",
    "zero_volume": "rows without volume",
    "stale_run_max": "repeats of the same four prices in a row",
}


class Checked(NamedTuple):
    """One series of one file."""

    file: str
    format: str
    timeframe: str
    series: str | None
    survey: "Survey"
    looked_at: "Series"
    suspicions: "list[Suspicion]"

    @property
    def name(self) -> str:
        return self.looked_at.name


def check(
    files: Annotated[list[Path], typer.Argument(help="Bar files of any known layout.")],
    *,
    calendar: Annotated[str, typer.Option(help="24/7, FX, an exchange's code such as XNYS, or none.")] = "24/7",
    timeframe: Annotated[str | None, typer.Option(help="The bars' length, where it is not to be measured.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of the times, where they do not say: America/New_York.")] = None,
    label: Annotated[Label | None, typer.Option(help="What a time is of its bar, where the layout errs.")] = None,
    format_name: Annotated[str | None, typer.Option("--format", help="The layout, where it cannot be told.")] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day, where times lack it.")
    ] = None,
    sla: Annotated[
        str | None, typer.Option(help="A section of policies/sla.yaml instead of 99 % of a session.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a report.")] = False,
) -> None:
    """Judge bar files without taking them in. Exit 0 passed, 1 an SLA broken, 2 a file that cannot be used."""
    from engine.errors import EngineError
    from quality.errors import QualityError
    from quality.suspicions import across
    from resources.bar_files.layouts import load_formats
    from resources.bar_files.reading import read_bar_file
    from resources.errors import ResourceError
    from resources.settings import settings

    project = settings().project
    level = _service_level(project, sla) if sla else None
    sessions = _calendar(calendar)
    formats = load_formats(project)
    checked: list[Checked] = []
    unusable = []
    for file in files:
        try:
            read = read_bar_file(
                file,
                format_name=format_name,
                timezone=timezone,
                label=label,
                timeframe=timeframe,
                day=day.date() if day else None,
                formats=formats,
            )
            checked += [_checked(str(file), read, series, sessions, level) for series in read.series]
        except (EngineError, QualityError, ResourceError) as error:
            unusable.append(str(error) if file.name in str(error) else f"{file}: {error}")
    between = across([one.looked_at for one in checked]) if len(checked) > 1 else []
    if as_json:
        typer.echo(json.dumps([_document(one) for one in checked], indent=2))
        _complain(_lines(checked, between))
    else:
        _show(checked, _lines(checked, between))
    _complain(unusable)
    raise typer.Exit(2 if unusable else 0 if all(one.survey.passed for one in checked) else 1)


def _calendar(name: str) -> "Calendar | None":
    from resources.calendars import open_calendar

    return None if name == NO_CALENDAR else open_calendar(name)


def _service_level(project: Path, section: str) -> "ServiceLevel":
    from quality.configuration import parse
    from quality.documents import nearest
    from quality.policies import SlaPolicy
    from resources.errors import UnknownSectionError

    path = project / "policies/sla.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownSectionError(section, path.name, (), None) from error
    sections = parse(text, SlaPolicy, file=path.name).sections
    if section not in sections:
        raise UnknownSectionError(section, path.name, sections, nearest(section, sections))
    return sections[section]


def _checked(
    file: str, read: "BarFile", series: "FileSeries", calendar: "Calendar | None", level: "ServiceLevel | None"
) -> Checked:
    from quality.survey import survey
    from quality.suspicions import Series, ahead, within
    from resources.clock import now

    due = due_bars(series.rows, calendar, read.timeframe)
    seen = survey(series.rows, due, timeframe=read.timeframe)
    if level is not None and calendar is not None and due is not None:
        seen = _under(level, seen, series.rows, due, calendar, timeframe=read.timeframe)
    looked_at = Series(
        file=file,
        name=file if series.name is None else f"{file} ({series.name})",
        timeframe=read.timeframe,
        rows=series.rows,
        due=due,
        actions=series.actions,
        adjusted_close=series.adjusted_close,
    )
    suspicions = within(looked_at) + ahead(series.rows, at=now())
    return Checked(file, read.format, read.timeframe, series.name, seen, looked_at, suspicions)


def due_bars(rows: "pl.DataFrame", calendar: "Calendar | None", timeframe: str) -> "pl.DataFrame | None":
    """The bars due in all sessions that the stamps touch; None without a calendar, and for bars longer than a day.

    An hour's bars lie on their sessions' own hours or on the clock's: the grid is the one that more stamps are on.
    """
    from engine.bars import timeframe_us
    from quality.survey import fitting, microseconds

    if calendar is None or timeframe_us(timeframe) > timeframe_us("1d"):
        return None
    first, last = _span(rows, calendar)
    due = calendar.due(first, last, timeframe)
    if (microseconds(due["ts"]) % timeframe_us(timeframe) == 0).all():
        return due  # it lies on the clock anyhow
    return fitting(rows, due, calendar.due(first, last, timeframe, anchor="clock"))


def _span(rows: "pl.DataFrame", calendar: "Calendar") -> tuple[date, date]:
    """The dates of the first and the last stamp, and one more at each end: a session may open on the evening before."""
    days = rows["ts"].drop_nulls().dt.date()
    if days.is_empty():
        return calendar.first, calendar.first
    first, last = cast("date", days.min()), cast("date", days.max())
    before, after = max(first - timedelta(days=1), calendar.first), min(last + timedelta(days=1), calendar.last)
    return min(before, first), max(after, last)


def _under(
    level: "ServiceLevel",
    seen: "Survey",
    rows: "pl.DataFrame",
    due: "pl.DataFrame",
    calendar: "Calendar",
    *,
    timeframe: str,
) -> "Survey":
    """The same counts with the verdict of a section of the policy."""
    from quality.survey import between, failing_sessions

    if seen.first is None or seen.last is None:
        return seen
    asked = between(due, seen.first, seen.last)
    if asked.is_empty():
        return seen
    closes = calendar.closes(asked["session"][0], asked["session"][-1])
    failing = failing_sessions(rows, asked, closes, timeframe=timeframe, level=level)
    return seen._replace(sessions_below_sla=failing, passed=failing == 0)


# What is said


def _document(checked: Checked) -> dict[str, Any]:
    series = {} if checked.series is None else {"series": checked.series}
    counts = checked.survey._asdict() | {"first": _stamp(checked.survey.first), "last": _stamp(checked.survey.last)}
    return {"file": checked.file, "format": checked.format, **series, **counts}


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=None).isoformat() + "Z"


def _lines(checked: Sequence[Checked], between: "Iterable[Suspicion]") -> Iterator[str]:
    for one in checked:
        yield from (f"{one.name}: {found.sentence}" for found in one.suspicions)
        if n := one.survey.duplicates_conflicting:
            yield (
                f"{one.name}: {n:,} {'row contradicts' if n == 1 else 'rows contradict'} an earlier one of the same time, and a "
                "night refuses all rows of such a time: where the last is right, say `on_conflict: keep_last` in the data set's file"
            )
    yield from (found.sentence for found in between)


def _complain(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)


def _show(checked: Sequence[Checked], suspicions: Iterable[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    terminal = Console(highlight=False, emoji=False)
    on = terminal if terminal.is_terminal else Console(highlight=False, emoji=False, width=_WIDTH)
    table = Table(Column("file", overflow="fold"), *_HEADINGS, box=box.SIMPLE, pad_edge=False)
    for one in checked:
        table.add_row(*(escape(cell) for cell in _cells(one)), "passed" if one.survey.passed else "failed")
    if checked:
        on.print(table)
    for one in checked:
        if found := [f"{n:,} {what}" for name, what in _DEFECTS.items() if (n := getattr(one.survey, name))]:
            on.print(f"{escape(one.name)}: {', '.join(found)}", soft_wrap=True)
    for line in suspicions:
        on.print(f"looks wrong: {escape(line)}", soft_wrap=True)


def _cells(checked: Checked) -> Iterator[str]:
    seen = checked.survey
    yield from (checked.name, checked.format, checked.timeframe, f"{seen.rows:,}")
    yield from ("" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in (seen.first, seen.last))
    yield "" if seen.completeness is None else f"{seen.completeness:.2%}"
    yield f"{seen.sessions:,}" if seen.expected is not None else ""
