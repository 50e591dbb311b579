"""The tree of what can go wrong outside. A message says what was seen, what was allowed, and what to do.

ResourceError
├── CalendarError
│   ├── UnknownCalendarError        a name that no calendar has
│   ├── UnusableCalendarError       a name the calendar library knows and cannot build
│   ├── CalendarSpanError           a day before or after what a calendar knows
│   ├── NotASessionError            a day on which the venue is closed
│   └── UncountableTimeframeError   a timeframe that does not fit into a session
├── SourceError
│   ├── UnreachableSourceError      no answer, or none but "not now", however often it was asked
│   ├── RefusedBySourceError        an answer that says no, which asking again will not change
│   ├── GarbledAnswerError          an answer that is not what was asked for
│   ├── ClockDiffersError           a session that is over by one clock and not by the other
│   ├── NotOfferedError             a timeframe, or bars at all, that an exchange does not have
│   ├── UnknownSampleError          a data set that is not embedded
│   ├── UnusableInboxError          a watched folder that cannot be used
│   ├── UnknownInstrumentError      an instrument the source does not have
│   └── NothingDeliveredError       a source that could not deliver a single instrument
├── LedgerError
│   ├── BrokenLedgerError           a chain that does not hold: nothing is read from it or added to it
│   ├── UnreadableHeadError         a published head that is not a number and a hash
│   ├── UnregisteredError           a strategy version that the ledger does not know
│   ├── NotMeasuredError            a strategy version without a scorecard
│   ├── StaleEvidenceError          a strategy version measured on other code, configuration or bars
│   └── NoNextStageError            a strategy version that stands where nothing is above
├── RefusedFileError
│   ├── NoPlainFileError            a link or a device where a file is expected
│   ├── UnclaimedFileError          a file that no instrument, or more than one, answers to
│   ├── ContradictoryFileError      a file whose name says one instrument and whose content another
│   ├── NoSuchSeriesError           several series in a file, and none is the instrument asked for
│   ├── TwinSeriesError             two series of one file that are the same instrument
│   ├── OtherTimeframeError         bars of another length than the data set's
│   ├── MistimedFileError           stamps that fit the calendar in another zone, or as closes, and nobody said so
│   ├── OtherPricesError            prices of another size than those held, in a file that nobody brought by hand
│   ├── OtherInstrumentError        corporate actions whose file names another instrument
│   └── TimelessFileError           a file without a row whose session is known
├── UnreadableFileError             a bar file that is not read at all
│   ├── NoSuchFileError             missing, a folder, or not to be read
│   ├── OversizedFileError          larger than is read, packed or unpacked
│   ├── DisguisedFileError          something else than its name promises
│   ├── DamagedFileError            cut off, or not what it says it is inside
│   ├── ArchiveContentError         an archive of something else than one file
│   ├── NoDataError                 no rows, or none with a price
│   ├── UnknownFormatError          a layout that nobody described
│   ├── UnknownZoneError            a time zone that does not exist
│   ├── UnknownLabelError           neither open nor close
│   ├── UnknownLayoutError          a file that fits no layout
│   ├── AmbiguousLayoutError        a file that fits two
│   ├── RaggedRowError              a row with more or fewer fields than the first
│   ├── MixedDatesError             day first here, month first there
│   ├── ExchangedColumnsError       high and low, or others, under each other's name
│   ├── DisagreeingColumnsError     two columns that say the same thing differently
│   ├── NamelessDayError            times of day without a day
│   ├── UnorderableBarsError        rows whose place in time is not known, or is another row's
│   ├── UnchosenSeriesError         several series in a file, where one is to be computed on
│   └── UnmeasurableTimeframeError  too few stamps to see how long a bar is
├── UnreadableActionFileError       a file that states no corporate actions and no names in a way that is known
├── WarehouseError
│   ├── NoWarehouseError            SQL is asked for before the first night
│   ├── UnreadableWarehouseError    a file in its place that DuckDB cannot open
│   └── RefusedQueryError           SQL that cannot be answered
│       ├── NotOneQueryError        none, or several at once
│       ├── WritingQueryError       SQL that would write or set something
│       └── UnknownTableError       a table that the lake has not
├── UnreadableAddressError          what should be explained is no address of a trade or an order
├── UnknownRecordError              a trade or an order that no run has
├── UnjudgedExpectationError        an expectation on which Great Expectations failed
├── UnknownSectionError             a section of service levels that the policy does not have
├── UnknownDatasetError             a name that no data set of the project has
├── UnknownStrategyError            a name that no strategy version of the project has
├── UnusableNameError               a name that no strategy may have
├── TakenNameError                  a name that a strategy has already
├── NoSessionError                  a night before the first session of every data set
├── OutsideDatasetError             days of which a data set has no session
├── NobodyToAskError                a data set without a source that could be asked again
├── NothingHeldError                a data set without bars, asked for research
├── RetractionError
│   ├── UnknownReceiptError         a number that no receipt of a data set has
│   ├── RetractedBeforeError        a receipt that counts for nothing already
│   └── NoReasonError               a retraction without a reason
├── WindowNotCompleteError          a walk-forward window that reaches beyond what is held
├── UserCodeError
│   ├── OverdueStrategyError        a strategy whose own code does not come to an end
│   ├── LostWorkerError             the process that ran a strategy ended without an answer
│   └── FailedApartError            what failed there and is no refusal
├── UnusableFolderError             a folder of the environment that cannot be used
├── HomeBusyError                   another process is writing the home folder
└── LakeError                       the lake was asked for or given what it cannot hold
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path

_FEW = 20  # names that a person reads in one sentence


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
            f"calendar {name!r} is neither 24/7 nor FX nor an exchange_calendars code such as XNYS"
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


class NothingDeliveredError(SourceError):
    def __init__(self, dataset: str, failed: Mapping[str, str]) -> None:
        instrument, reason = next(iter(failed.items()))
        others = f" (and so for all {len(failed)} instruments)" if len(failed) > 1 else ""
        super().__init__(f"{dataset}: nothing could be delivered; {instrument}: {reason}{others}")


class UnreachableSourceError(SourceError):
    def __init__(self, address: str, problem: str) -> None:
        super().__init__(
            f"{address} could not be asked, however often it was tried: {problem}; "
            "what came before is kept, and the next night goes on from there"
        )


class RefusedBySourceError(SourceError):
    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address} refuses to answer: {reason}; look at the source and the instrument's symbol")


class GarbledAnswerError(SourceError):
    def __init__(self, address: str, seen: str, expected: str) -> None:
        super().__init__(
            f"{address} answered with {seen}, expected {expected}: nothing of that answer is kept, and what came before is"
        )


class ClockDiffersError(SourceError):
    def __init__(self, address: str, session: date, *, there: datetime, here: datetime) -> None:
        super().__init__(
            f"{address} has {there:%Y-%m-%d %H:%M} and this machine {here:%Y-%m-%d %H:%M} UTC: by the earlier of the two, "
            f"session {session} is not over, so it was not taken; set the clock that is wrong"
        )


class NotOfferedError(SourceError):
    def __init__(self, exchange: str, wanted: str, known: Iterable[str]) -> None:
        super().__init__(f"{exchange} has no {wanted}: it has {', '.join(known) or 'none at all'}")


class UnknownSampleError(SourceError):
    def __init__(self, dataset: str, known: Iterable[str]) -> None:
        super().__init__(f"no embedded sample is named {dataset!r}: name the data set {' or '.join(sorted(known))}")


class UnknownInstrumentError(SourceError):
    def __init__(self, instrument: str, source: str, known: Iterable[str]) -> None:
        every = sorted(known)
        near = every if len(every) <= _FEW else get_close_matches(instrument, every, n=5, cutoff=0.4)
        which = "it has" if len(every) <= _FEW else f"the nearest of its {len(every)} are"
        offered = f": {which} {', '.join(near)}" if near else ": look up what it calls it, and write that as its symbol"
        super().__init__(f"{source} has no instrument {instrument!r}{offered}")


class UnusableInboxError(SourceError):
    def __init__(self, folder: Path | str, reason: str) -> None:
        super().__init__(
            f"the inbox {folder} cannot be used: {reason}; name a folder of its own under `source` of the data set, "
            "or make this one writable"
        )


class RefusedFileError(ResourceError):
    """A file that can be read and does not fit the data set it was brought for."""


class NoPlainFileError(RefusedFileError):
    def __init__(self, *, is_link: bool) -> None:
        found = "a link" if is_link else "a pipe, socket or device"
        super().__init__(f"it is {found}, and only a plain file is read: put the file itself here, not a way to it")


class UnclaimedFileError(RefusedFileError):
    def __init__(self, where: str, named: str, claimants: Iterable[str], known: Iterable[str]) -> None:
        answering = sorted(claimants)
        who = f"{' and '.join(answering)} answer to it alike" if answering else "no instrument answers to it"
        super().__init__(
            f"{where} is {named!r}, and {who}; the instruments are {', '.join(sorted(known))}: begin the file's name with "
            "an instrument's id, or say which it is with `gauntlet import FILE --dataset … --instrument …`"
        )


class ContradictoryFileError(RefusedFileError):
    def __init__(self, named: str, held: Iterable[str]) -> None:
        super().__init__(
            f"its name says {named} and its rows are of {', '.join(sorted(held))}: rename the file after what it holds, "
            "or without an instrument's name where it holds several"
        )


class NoSuchSeriesError(RefusedFileError):
    def __init__(self, file: str, instrument: str, series: Iterable[str]) -> None:
        super().__init__(
            f"{file} holds the series {', '.join(sorted(series))}, and none of them is {instrument} by its id, its symbol "
            "or a former one: write the series' name there, or import a file of that series alone"
        )


class TwinSeriesError(RefusedFileError):
    def __init__(self, instrument: str, series: Iterable[str]) -> None:
        super().__init__(f"its series {' and '.join(series)} are both {instrument}: keep one of them in the file")


class OtherTimeframeError(RefusedFileError):
    def __init__(self, found: str, dataset: str, wanted: str, *, finer: bool) -> None:
        advice = (
            f"make a data set with `timeframe: {found}` and `resample: [{wanted}]`, which folds them"
            if finer
            else f"get the bars of {wanted}, or make a data set of {found}"
        )
        super().__init__(f"its bars are of {found}, those of {dataset} of {wanted}: {advice}")


class MistimedFileError(RefusedFileError):
    """`what` is `zone` or `label`, and `found` what was seen."""

    def __init__(self, what: str, found: str) -> None:
        key, right = ("timezone", "UTC") if what == "zone" else ("label", "open")
        typed = "; stamps whose own offset is wrong need a layout with `misread_as`" if what == "zone" else ""
        super().__init__(
            f"{found}, or with `{key}:` under `source` of a data set of files; `{right}` where they are right as they "
            f"are{typed} (docs/guides/bar-files.md)"
        )


class OtherPricesError(RefusedFileError):
    def __init__(self, instrument: str, found: str) -> None:
        super().__init__(
            f"{instrument}: {found}; only prices within a factor of 5 are taken in without being asked: scale the file, or "
            "name the right instrument; where it is right as it is, `gauntlet import` takes it"
        )


class OtherInstrumentError(RefusedFileError):
    def __init__(self, file: str, named: Iterable[str], instrument: str) -> None:
        super().__init__(
            f"{file} says {' or '.join(named)}, and was brought for {instrument}: say --instrument as the file does, or "
            "rename the file where its name is wrong"
        )


class TimelessFileError(RefusedFileError):
    def __init__(self, rows: int, reason: str) -> None:
        super().__init__(
            f"no session can be told for its {rows} rows: {reason}; say how times are written with a format (`--format`)"
        )


class UnreadableFileError(ResourceError):
    """A bar file that is not read at all; the sentence says what was expected and what was found."""


class NoSuchFileError(UnreadableFileError):
    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file} cannot be opened: {reason}; name a file that is there and may be read")


class OversizedFileError(UnreadableFileError):
    def __init__(self, file: str, found: str, allowed: str) -> None:
        super().__init__(f"{file} {found}, at most {allowed} is read: cut it into smaller files")


class DisguisedFileError(UnreadableFileError):
    def __init__(self, file: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"{file} holds {found}, its name promises {expected}: give it the right name, or send it again"
        )


class DamagedFileError(UnreadableFileError):
    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file} is damaged or half written: {problem}; fetch it again")


class ArchiveContentError(UnreadableFileError):
    def __init__(self, file: str, found: str) -> None:
        super().__init__(f"{file} is an archive of {found}, expected one file of bars: unpack it and name the files")


class NoDataError(UnreadableFileError):
    def __init__(self, file: str, found: str) -> None:
        super().__init__(f"{file} has no data: {found}; ask for it again, what is held stays")


class UnorderableBarsError(UnreadableFileError):
    def __init__(self, file: str, *, unreadable: int, repeated: int) -> None:
        super().__init__(
            f"{file}: {unreadable} rows have no readable time and {repeated} repeat one, each bar must have its own: "
            f"`gauntlet check {file}` says more"
        )


class UnchosenSeriesError(UnreadableFileError):
    def __init__(self, file: str, asked: str | None, known: Iterable[str], nearest: str | None) -> None:
        found = "no series was chosen" if asked is None else f"there is no series {asked!r}"
        guess = f"did you mean {nearest!r}? " if nearest else ""
        super().__init__(f"{file}: {found}: {guess}write --series and one of {', '.join(known)}")


class UnknownFormatError(UnreadableFileError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else "."
        super().__init__(f"no layout is called {name!r}{guess} There are {', '.join(sorted(known))}")


class UnknownZoneError(UnreadableFileError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is no time zone that is known: write one such as UTC or America/New_York")


class UnknownLabelError(UnreadableFileError):
    def __init__(self, label: str) -> None:
        super().__init__(f"a stamp cannot name a bar's {label!r}: write open or close")


class UnknownLayoutError(UnreadableFileError):
    def __init__(self, file: str, found: str, why: str) -> None:
        super().__init__(
            f"{file}: {why}. Found {found}; name its layout with --format NAME, or describe it in formats/NAME.yaml "
            "(docs/guides/bar-files.md)"
        )


class AmbiguousLayoutError(UnreadableFileError):
    def __init__(self, file: str, names: Iterable[str]) -> None:
        named = " and ".join(names)
        super().__init__(
            f"{file} fits {named}, which read it differently: choose one with --format, "
            "or say what differs with --timezone and --label"
        )


class RaggedRowError(UnreadableFileError):
    def __init__(self, file: str, line: int, *, found: int, expected: int) -> None:
        super().__init__(
            f"{file}:{line}: {found} fields, expected {expected} as in the first line: mend the line, "
            "or give its columns by position in a layout of your own"
        )


class MixedDatesError(UnreadableFileError):
    def __init__(self, file: str, row: int, text: str, *, order: str) -> None:
        super().__init__(
            f"{file}: row {row} is stamped {text!r}, which cannot be {order} as others of the file are: "
            "its dates are written both ways, so none of them can be trusted; ask for it again"
        )


class ExchangedColumnsError(UnreadableFileError):
    def __init__(self, file: str, *, n_rows: int, highest: str, lowest: str) -> None:
        super().__init__(
            f"{file}: {n_rows} rows have a high below or a low above their other prices, and {highest!r} is the highest "
            f"and {lowest!r} the lowest in all of them: the columns look exchanged; mend the header, or name the columns "
            "in a layout of your own"
        )


class DisagreeingColumnsError(UnreadableFileError):
    def __init__(self, file: str, row: int, *, first: str, second: str) -> None:
        super().__init__(
            f"{file}: row {row} has {first} and {second}, which must agree: choose one of the columns in a layout of "
            "your own and ignore the other"
        )


class NamelessDayError(UnreadableFileError):
    def __init__(self, file: str) -> None:
        super().__init__(f"{file} stamps its rows with a time of day only: say which day it is with --date YYYY-MM-DD")


class UnmeasurableTimeframeError(UnreadableFileError):
    def __init__(self, file: str, found: str) -> None:
        super().__init__(f"{file} does not show how long its bars are ({found}): say it with --timeframe, such as 5m")


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


class UnreadableActionFileError(ResourceError):
    def __init__(self, file: str, line: int | None, found: str, expected: str) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {found}; expected {expected}")


class UnknownSectionError(ResourceError):
    def __init__(self, section: str, file: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else "."
        has = ", ".join(sorted(known)) or "nothing that can be read"
        super().__init__(f"{file} has no section {section!r}{guess} It has {has}")


class UnknownDatasetError(ResourceError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else "."
        super().__init__(f"no data set is called {name!r}{guess} The project has {', '.join(sorted(known))}")


class UnknownStrategyError(ResourceError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else "."
        super().__init__(f"no strategy version is called {name!r}{guess} The project has {', '.join(sorted(known))}")


class UnusableNameError(ResourceError):
    def __init__(self, name: str, allowed: str, nearest: str) -> None:
        guess = f": did you mean {nearest!r}?" if nearest and nearest != name else ""
        super().__init__(f"no strategy can be called {name!r}{guess} Write {allowed}")


class TakenNameError(ResourceError):
    def __init__(self, name: str, holder: str) -> None:
        super().__init__(f"{name} is taken: {holder} is there, and nothing is written over it; choose another name")


class UserCodeError(ResourceError):
    """What came of running a strategy in a process of its own."""


class OverdueStrategyError(UserCodeError):
    def __init__(self, strategy: str, line: int | None, *, file: str, seconds: float) -> None:
        where = f" ({Path(file).name}:{line})" if line else ""
        super().__init__(
            f"{strategy}{where} ran for more than {seconds:g} s and was stopped: a strategy says what is to be computed, "
            "which takes an instant; look for a loop that does not end, or for a number that never gets done"
        )


class LostWorkerError(UserCodeError):
    def __init__(self, strategy: str, status: int) -> None:
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        super().__init__(
            f"the process that ran {strategy} ended {how} and without an answer: see whether memory ran out, or who killed "
            "it; the next night tries again"
        )


class FailedApartError(UserCodeError):
    def __init__(self, strategy: str, sentence: str, traceback: str) -> None:
        super().__init__(f"{strategy}: {sentence}")
        self.traceback = traceback


class UnregisteredError(LedgerError):
    def __init__(self, strategy: str) -> None:
        super().__init__(f"{strategy} is not registered yet: `gauntlet nightly` registers it")


class NotMeasuredError(LedgerError):
    def __init__(self, strategy: str) -> None:
        super().__init__(f"{strategy} has no backtest and no scorecard yet: `gauntlet nightly` makes them")


class NoNextStageError(LedgerError):
    def __init__(self, strategy: str, stage: str) -> None:
        super().__init__(f"{strategy} is {stage}: only what is in lab or paper can be reviewed for the stage above")


class OutsideDatasetError(ResourceError):
    def __init__(self, dataset: str, *, asked: tuple[date, date], span: tuple[date, date] | None) -> None:
        has = f"has sessions from {span[0]} to {span[1]}" if span else "has no session that has closed yet"
        super().__init__(f"{dataset} {has}, got {asked[0]} to {asked[1]}: name days that lie in between, in order")


class NobodyToAskError(ResourceError):
    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"{dataset} is made of files, so nobody can be asked for its sessions again: import the files, "
            "or judge what is held anew with --derive"
        )


class NothingHeldError(ResourceError):
    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"nothing is held of {dataset} yet: `gauntlet nightly` asks its source, or materialize its bars"
        )


class RetractionError(ResourceError):
    """A receipt that cannot be taken back."""


class UnknownReceiptError(RetractionError):
    def __init__(self, dataset: str, sequence: int, nearest: Iterable[str]) -> None:
        there = ", ".join(nearest)
        has = f"the nearest are {there}: `gauntlet sql --lake` lists all receipts" if there else "it has none yet"
        super().__init__(f"{dataset} has no receipt {sequence}; {has}")


class RetractedBeforeError(RetractionError):
    def __init__(self, dataset: str, sequence: int, *, at: datetime, why: str) -> None:
        super().__init__(
            f"receipt {sequence} of {dataset} was retracted at {at:%Y-%m-%d %H:%M}Z ({why}) and counts for nothing since: "
            "leave it out"
        )


class NoReasonError(RetractionError):
    def __init__(self) -> None:
        super().__init__("a retraction is kept with its reason, got none: say it with --why")


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


class WarehouseError(ResourceError):
    """SQL that cannot be asked."""


class NoWarehouseError(WarehouseError):
    def __init__(self, path: str) -> None:
        super().__init__(f"there is no warehouse yet at {path}: `gauntlet nightly` builds it")


class UnreadableWarehouseError(WarehouseError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be opened: {reason}; delete it: it holds nothing of its own, and `gauntlet nightly` builds it anew"
        )


class RefusedQueryError(WarehouseError):
    """SQL that cannot be answered, in DuckDB's words."""


class NotOneQueryError(RefusedQueryError):
    def __init__(self, n_queries: int) -> None:
        super().__init__(f"this is {n_queries} queries: ask one")


class WritingQueryError(RefusedQueryError):
    def __init__(self, kind: str) -> None:
        super().__init__(
            f"{kind} is no query, and the warehouse is only read: ask with SELECT, FROM, WITH, SHOW or DESCRIBE"
        )


class UnknownTableError(RefusedQueryError):
    def __init__(self, name: str, known: Iterable[str], nearest: str | None) -> None:
        guess = f": did you mean {nearest!r}?" if nearest else "."
        super().__init__(f"there is no table {name!r}{guess} The tables are {', '.join(sorted(known))}")


class UnreadableAddressError(ResourceError):
    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address!r} is no address: write a strategy version and the id of a trade or an order, such as "
            "sma_cross@1.0.0/t-000012, or sma_cross@1.0.0/w003/o-000002 in a window"
        )


class UnknownRecordError(ResourceError):
    def __init__(
        self, strategy: str, scope: str, name: str, *, strategies: Iterable[str], scopes: Iterable[str], ids: list[str]
    ) -> None:
        where = f"{strategy}, {scope}"
        if not (known := list(scopes)):
            seen = f"no run of {strategy} is in the warehouse; there are {', '.join(sorted(strategies)) or 'none'}"
        elif scope not in known:
            seen = f"{strategy} has no {scope}, only {', '.join(known)}"
        elif not ids:
            seen = f"{where} has none at all"
        else:
            seen = f"{where} has {ids[0]} to {ids[-1]}, and {name} is not among them"
        super().__init__(f"there is no {name}: {seen}. `gauntlet sql` lists what the tables trades and orders hold")


class UnjudgedExpectationError(ResourceError):
    def __init__(self, suite: str, column: str, reason: str) -> None:
        super().__init__(
            f"Great Expectations gave no verdict on {column} of {suite}: {reason}; "
            "the checks of the data set's bars have the same rules"
        )
