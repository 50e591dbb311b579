"""`gauntlet simulate SCENARIO.yaml…`: what the simulator would do on a handful of bars.

Each file is read and held against itself, its bars are put on its calendar, and it is simulated by the
kernel that backtests run on. Exit 0, or 2 where a scenario cannot mean anything: the place and the
reason are on stderr, and with `--json` in the answer's stead. Neither Dagster nor a project is loaded.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from quality.scenarios import Scenario
    from resources.calendars import Calendar

PathPolicy = Literal["adverse", "likely", "favourable"]
_A_NIGHT = timedelta(days=1)
_ANCHORS: tuple[Literal["session", "clock"], ...] = ("session", "clock")


class Refused(NamedTuple):
    """Why a scenario has no answer."""

    place: str  # such as decisions[2].targets[0].price; the line where it is no YAML; file or scenario for the whole
    reason: str
    told: str  # every reason, as a person reads it

    @property
    def document(self) -> dict[str, Any]:
        return {"error": {"place": self.place, "reason": self.reason}}


class Simulated(NamedTuple):
    scenario: dict[str, Any]  # with nothing left out
    answer: dict[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        return self.answer


def simulate(
    scenarios: Annotated[list[Path], typer.Argument(help="YAML files of bars and decisions.", metavar="SCENARIO")],
    *,
    path: Annotated[
        PathPolicy | None, typer.Option(help="Which of the two ways through a bar, whatever the file says.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """What would it do here? Every fill of a handful of bars, and the rule behind it."""
    told = [(file, _outcome(file, path)) for file in scenarios]
    if as_json:
        documents = [{"scenario": str(file)} | outcome.document for file, outcome in told]
        typer.echo(json.dumps(documents if len(told) > 1 else told[0][1].document, indent=2))
    for file, outcome in told:
        if isinstance(outcome, Refused):
            typer.echo(outcome.told, err=True)
        elif not as_json:
            _show(file if len(told) > 1 else None, outcome)
    raise typer.Exit(2 if any(isinstance(outcome, Refused) for _, outcome in told) else 0)


def _outcome(file: Path, path: PathPolicy | None) -> "Simulated | Refused":
    from engine.errors import EngineError
    from quality.errors import ConfigurationError
    from resources.errors import ResourceError, UncountableTimeframeError

    try:
        document = _document(file, path)
    except ConfigurationError as error:
        first = error.problems[0]
        place = first.key or ("file" if first.line is None else f"line {first.line}")
        reason = str(first._replace(file="", line=None)).removeprefix(": ")
        return Refused(place, reason, str(error))
    except UncountableTimeframeError as error:
        return Refused("timeframe", str(error), f"{file}: {error}")
    except ResourceError as error:
        return Refused("calendar", str(error), f"{file}: {error}")
    try:
        return Simulated(document, _simulated(document))
    except EngineError as error:
        return Refused("scenario", str(error), f"{file}: {error}")


def _document(file: Path, path: PathPolicy | None) -> dict[str, Any]:
    from quality.configuration import parse
    from quality.scenarios import Scenario

    scenario = parse(_text(file), Scenario, file=str(file))
    if path is not None:
        scenario = scenario.model_copy(update={"rules": scenario.rules.model_copy(update={"path": path})})
    return _on_its_calendar(scenario, str(file))


def _simulated(document: dict[str, Any]) -> dict[str, Any]:
    from resources.settings import prepare

    prepare()  # before numba is imported: compiled code is kept in the home folder
    from engine.simulator.scenario import simulated

    return simulated(document)


def _text(file: Path) -> str:
    from quality.errors import ConfigurationError, Problem

    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        problem = Problem(str(file), None, "", "the file holds a byte that is not UTF-8", "a text file in UTF-8")
    except OSError as error:
        problem = Problem(str(file), None, "", f"the file cannot be read ({error.strerror})", "a text file")
    raise ConfigurationError([problem])


def _on_its_calendar(scenario: "Scenario", file: str) -> dict[str, Any]:
    """The document of `scenario`, with the `sessions` its bars lie in where that is not every day."""
    from quality.datasets import ROUND_THE_CLOCK
    from resources.calendars import open_calendar

    if scenario.calendar == ROUND_THE_CLOCK:
        return scenario.document()
    calendar = open_calendar(scenario.calendar)
    if not scenario.is_dated:
        document = scenario.document(_first_bars(calendar, scenario))
    else:
        document = scenario.document()
        _require_due(calendar, scenario, file)
    days = [datetime.fromisoformat(row[0]).date() for rows in document["bars"].values() for row in rows]
    closes = calendar.closes(min(days), max(days))
    document["sessions"] = [
        [f"{opens:%Y-%m-%dT%H:%M:%SZ}", f"{close:%Y-%m-%dT%H:%M:%SZ}"]
        for opens, close in closes.select("open", "close").iter_rows()
    ]
    return document


def _first_bars(calendar: "Calendar", scenario: "Scenario") -> list[datetime]:
    """The calendar's first bars since 1970, as many as the scenario needs."""
    sessions = calendar.sessions(calendar.first, calendar.last)[: scenario.n_rows]
    due: list[datetime] = calendar.due(sessions[0], sessions[-1], scenario.timeframe)["ts"].to_list()
    return due


def _require_due(calendar: "Calendar", scenario: "Scenario", file: str) -> None:
    """Refuse bars at which the calendar has none."""
    from quality.errors import ConfigurationError, Problem

    clock = scenario.clock()
    due = _due(calendar, scenario, clock.times)
    problems = [
        Problem(file, None, f"bars.{name}[{row}][0]", f"bars.{name}[{row}][0] is {ts:%Y-%m-%dT%H:%M:%SZ}", expected)
        for name, stamps in clock.bars.items()
        for row, ts in enumerate(stamps)
        if ts not in due
        for expected in [f"a {scenario.timeframe} bar of {calendar.name}, labelled by its open"]
    ]
    if problems:
        raise ConfigurationError(problems)


def _due(calendar: "Calendar", scenario: "Scenario", times: Sequence[datetime]) -> set[datetime]:
    """The bars due around `times`; on the clock's hours where more of them lie there than on the sessions' own."""
    first = max(calendar.first, times[0].date() - _A_NIGHT)  # a session may open on the evening before its date
    last = min(calendar.last, times[-1].date() + _A_NIGHT)
    grids = [set(calendar.due(first, last, scenario.timeframe, anchor=anchor)["ts"]) for anchor in _ANCHORS]
    return max(grids, key=lambda grid: len(grid.intersection(times)))


def _show(file: Path | None, simulated: Simulated) -> None:
    from pipelines.cli.bar_by_bar import show
    from pipelines.cli.report import console

    show(console(), simulated.scenario, simulated.answer, title=None if file is None else str(file))
