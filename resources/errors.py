"""The tree of what can go wrong outside. A message says what was seen, what was allowed, and what to do.

ResourceError
├── CalendarError
│   ├── UnknownCalendarError        a name that no calendar has
│   ├── UnusableCalendarError       a name the calendar library knows and cannot build
│   ├── CalendarSpanError           a day before or after what a calendar knows
│   ├── NotASessionError            a day on which the venue is closed
│   └── UncountableTimeframeError   a timeframe that does not fit into a session
├── SourceError
│   ├── UnknownSourceKindError      a kind of source that does not exist
│   ├── UnknownSampleError          a data set that is not embedded
│   └── UnknownInstrumentError      an instrument the source does not have
├── LedgerError
│   ├── BrokenLedgerError           a chain that does not hold: nothing is read from it or added to it
│   ├── UnreadableHeadError         a published head that is not a number and a hash
│   ├── UnregisteredError           a strategy version that the ledger does not know
│   ├── NotMeasuredError            a strategy version without a scorecard
│   ├── StaleEvidenceError          a strategy version measured on other code, configuration or bars
│   └── NoNextStageError            a strategy version that stands where nothing is above
├── UnknownDatasetError             a name that no data set of the project has
├── UnknownStrategyError            a name that no strategy version of the project has
├── NoSessionError                  a night before the first session of every data set
├── NothingHeldError                a data set without bars, asked for research
├── WindowNotCompleteError          a walk-forward window that reaches beyond what is held
├── UnusableFolderError             a folder of the environment that cannot be used
├── HomeBusyError                   another process is writing the home folder
└── LakeError                       the lake was asked for or given what it cannot hold
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path


class ResourceError(Exception):
    """Everything that a handle to the outside world can refuse."""


class HomeBusyError(ResourceError):
    def __init__(self, lock: Path, holder: str) -> None:
        super().__init__(f"{holder} is writing {lock.parent}; one at a time: wait until it ends, or stop it")


class LakeError(ResourceError):
    """The lake was asked for or given what it cannot hold."""


class CalendarError(ResourceError):
    """A calendar that cannot be had, or cannot answer."""


class UnknownCalendarError(CalendarError):
    def __init__(self, name: str, nearest: Iterable[str]) -> None:
        near = " or ".join(nearest)
        super().__init__(
            f"calendar {name!r} is neither 24/7 nor an exchange_calendars code such as XNYS"
            + (f": did you mean {near}?" if near else ": write one of these")
        )


class UnusableCalendarError(CalendarError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"calendar {name} cannot be built by the installed exchange-calendars ({reason[:80]}): "
            "use another code with the same sessions, or another release of the library"
        )


class CalendarSpanError(CalendarError):
    def __init__(self, name: str, day: date, *, first: date, last: date) -> None:
        super().__init__(f"calendar {name} knows {first} to {last}, got {day}: ask for days within that span")


class NotASessionError(CalendarError):
    def __init__(self, name: str, day: date) -> None:
        super().__init__(f"{day} is no session of calendar {name}: ask for one of its sessions")


class UncountableTimeframeError(CalendarError):
    def __init__(self, timeframe: str) -> None:
        super().__init__(f"a calendar counts bars of at most 1d, got {timeframe!r}: ask for those and resample")


class SourceError(ResourceError):
    """A source that cannot be had, or cannot deliver."""


class UnknownSourceKindError(SourceError):
    def __init__(self, kind: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no source of kind {kind!r}: write one of {', '.join(sorted(known))}")


class UnknownSampleError(SourceError):
    def __init__(self, dataset: str, known: Iterable[str]) -> None:
        super().__init__(f"no embedded sample is named {dataset!r}: name the data set {' or '.join(sorted(known))}")


class UnknownInstrumentError(SourceError):
    def __init__(self, instrument: str, source: str, known: Iterable[str]) -> None:
        super().__init__(f"{source} has no instrument {instrument!r}: it has {', '.join(sorted(known))}")


class LedgerError(ResourceError):
    """A ledger that cannot be trusted."""


class BrokenLedgerError(LedgerError):
    def __init__(self, entry: int, problem: str) -> None:
        super().__init__(
            f"the ledger breaks at entry {entry}: {problem}; "
            "nothing is read from it or added to it until it holds: see `gauntlet ledger verify`"
        )


class UnreadableHeadError(LedgerError):
    def __init__(self, file: Path, seen: bytes) -> None:
        super().__init__(
            f'{file} holds {seen[:80]!r}, expected {{"n": number, "hash": "sha256:…"}}: restore it from the last night\'s '
            "notification or run metadata"
        )


class UnknownDatasetError(ResourceError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"no data set is called {name!r}{guess} The project has {', '.join(sorted(known))}")


class UnknownStrategyError(ResourceError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"no strategy version is called {name!r}{guess} The project has {', '.join(sorted(known))}")


class UnregisteredError(LedgerError):
    def __init__(self, strategy: str) -> None:
        super().__init__(f"{strategy} is not registered yet: `gauntlet nightly` registers it")


class NotMeasuredError(LedgerError):
    def __init__(self, strategy: str) -> None:
        super().__init__(f"{strategy} has no backtest and no scorecard yet: `gauntlet nightly` makes them")


class NoNextStageError(LedgerError):
    def __init__(self, strategy: str, stage: str) -> None:
        super().__init__(f"{strategy} is {stage}: only what is in lab or paper can be reviewed for the stage above")


class NothingHeldError(ResourceError):
    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"nothing is held of {dataset} yet: `gauntlet nightly` asks its source, or materialize its bars"
        )


class WindowNotCompleteError(ResourceError):
    def __init__(self, strategy: str, window: str, *, last: date, newest: str | None) -> None:
        super().__init__(
            f"window {window} of {strategy} is not complete on {last}; the newest that is: {newest or 'none'}"
        )


class NoSessionError(ResourceError):
    def __init__(self, until: date | None, first: date) -> None:
        when = f"up to {until}" if until else "yet"
        super().__init__(f"no data set has a session {when}: the earliest starts on {first}")


class StaleEvidenceError(LedgerError):
    def __init__(self, strategy: str, steps: Iterable[str]) -> None:
        super().__init__(
            f"the {' and '.join(steps)} of {strategy} was made of other code, configuration or bars than there are now: "
            "run `gauntlet nightly` first"
        )


class UnusableFolderError(ResourceError):
    def __init__(self, variable: str, folder: Path | str, reason: str) -> None:
        super().__init__(f"{variable} is {folder}, which cannot be used: {reason}; set {variable} to another folder")
