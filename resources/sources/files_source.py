"""A watched folder as a source: what is dropped into it is read, handed on, and put away once it was kept.

1. The files that wait are taken in rounds, in order of arrival. A round ends for an instrument before
   a file that speaks for sessions of which the round has one already. So no two deliveries of a round
   speak for the same bars, and a night that dies after they were kept and before they were put away
   finds the same receipts when it reads them again.
2. Whose bars a file holds is said by its name, which then begins with an instrument's id (with or
   without its venue) or with what the source calls it. A file whose name says nothing, or is begun
   by two, goes into a round of its own, and the names of the series in it decide.
3. A file that cannot be read, fits no instrument, contradicts its name, has bars of another length
   or prices of another size than those held is moved to `refused/` beside a sentence, when that is
   found out; the others go on.
4. When all that was delivered is kept, `settle` puts the files of the round away. What is left is
   the next round's.

A file is in memory from when it is read until it was handed on, and one at a time. It speaks for
the sessions from its first readable bar to its last that has closed, whatever was asked for: a stray
stamp of a year to come is a row, and no word about the sessions until then.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from engine.bars import timeframe_us
from quality.datasets import Dataset
from quality.datasets import Instrument as Listed
from quality.errors import ConfigurationError
from quality.suspicions import Suspicion, beside
from resources.bar_files import clocks
from resources.bar_files.layouts import load_formats
from resources.bar_files.reading import BarFile, Series, read_bar_file
from resources.calendars import Calendar, open_calendar
from resources.clock import now
from resources.errors import (
    CalendarSpanError,
    ContradictoryFileError,
    MistimedFileError,
    OtherPricesError,
    OtherTimeframeError,
    RefusedFileError,
    TimelessFileError,
    TwinSeriesError,
    UnclaimedFileError,
    UnknownInstrumentError,
    UnmeasurableTimeframeError,
    UnreadableFileError,
)
from resources.inbox import Entry, Inbox, folder_of, require_plain, settled, watched
from resources.lake import Between, Lake
from resources.retractions import retracted
from resources.settings import Settings
from resources.sources.protocol import ACTIONS, RECEIVED, Delivery, Instrument
from resources.statements import Statement

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = timedelta(days=20)  # of a venue, between two sessions
_WORDS = re.compile(r"[^\W_]+")
_BETWEEN = r"[\W_]*"


class Handled(NamedTuple):
    """What became of one file."""

    file: str
    outcome: Literal["taken in", "refused", "left"]
    about: str


def answering(name: str, instruments: Iterable[Listed], *, whole: bool) -> list[str]:
    """The ids of the instruments that `name` is, or begins with: of several beginnings the longest.

    Capitals and what stands between letters and digits do not count: `btc_usd-2024.csv` begins with `BTC/USD`. A word is
    matched to its end: `AAPL.csv` does not begin with `A`.
    """
    lengths: dict[str, int] = {}
    for instrument in instruments:
        for words in _names(instrument):
            if _pattern(words, whole=whole).match(name.casefold()):
                length = sum(map(len, words))
                lengths[instrument.id] = max(length, lengths.get(instrument.id, 0))
    longest = max(lengths.values(), default=0)
    return sorted(instrument for instrument, length in lengths.items() if length == longest)


class Read(NamedTuple):
    """A file that was read for a data set."""

    file: BarFile
    doubts: tuple[str, ...]  # of its clock, where a person has said it


def read_for(
    dataset: Dataset,
    calendar: Calendar,
    path: Path,
    *,
    format_name: str | None,
    timezone: str | None,
    label: str | None,
    project: Path,
) -> Read:
    """A file for the data set, in a layout of the package or of the project.

    A file too short to show how long its bars are is taken for what the data set wants. Raises UnreadableFileError,
    OtherTimeframeError when the bars are longer or shorter than the data set's, and MistimedFileError when the stamps fit
    the calendar in another zone or as closes, and nobody has said what they are.
    """
    formats = load_formats(project)
    read = partial(read_bar_file, path, format_name=format_name, timezone=timezone, label=label, formats=formats)
    try:
        file = read()
    except UnmeasurableTimeframeError:
        file = read(timeframe=dataset.timeframe)
    found, wanted = timeframe_us(file.timeframe), timeframe_us(dataset.timeframe)
    if found != wanted:
        raise OtherTimeframeError(file.timeframe, dataset.name, dataset.timeframe, finer=found < wanted)
    doubts = clocks.doubts(file, calendar)
    unsaid = clocks.unsaid(formats[file.format], timezone=timezone, label=label)
    for doubt in doubts:
        if doubt.name in unsaid:
            raise MistimedFileError(doubt.name, doubt.sentence)
    return Read(file, tuple(doubt.sentence for doubt in doubts))


def delivery(
    dataset: Dataset, calendar: Calendar, instrument: str, series: Series, *, origin: str, at: datetime
) -> Delivery:
    """A series of a file as a delivery for the sessions from its first readable bar to its last before the instant `at`.

    It never speaks for a session that has not closed by then, unless its first bar is of one. Raises TimelessFileError
    when it has no readable bar until then, or one before all that the calendar knows.
    """
    stamps = series.rows["ts"].drop_nulls()
    if stamps.is_empty():
        raise TimelessFileError(series.rows.height, "none has a readable time")
    past = stamps.filter(stamps <= at)
    if past.is_empty():
        raise TimelessFileError(series.rows.height, f"all their times lie after now, {at:%Y-%m-%d %H:%M}Z")
    try:
        first, newest = (_session(dataset, calendar, ts) for ts in (past.min(), past.max()))  # type: ignore[arg-type]
        last = max(first, min(newest, calendar.last_closed(at)))
    except CalendarSpanError as error:
        raise TimelessFileError(series.rows.height, str(error)) from error
    return Delivery(instrument, series.rows.match_to_schema(RECEIVED), origin, first, last)


def statement(file: BarFile, given: Delivery, series: Series, *, source: str) -> Statement | None:
    """What a series states of corporate actions, for the sessions of its bars; None where it states nothing.

    Splits that the file's prices were divided by already are left out: they would be applied twice.
    """
    actions = series.actions.filter(pl.col("kind") != "split") if file.split_adjusted else series.actions
    if actions.is_empty():
        return None
    return Statement(given.instrument, actions, source, given.origin, given.first, given.last)


def beside_held(
    lake: Lake, dataset: Dataset, calendar: Calendar, given: Delivery, stated: pl.DataFrame
) -> list[Suspicion]:
    """How a delivery's prices fit the bars held of its sessions, and of the one before and after.

    A split that is known, or that its file has `stated`, explains itself. Bars of retracted receipts do not count, also
    while they were not judged again.
    """
    near = calendar.closes(given.first, given.last)["session"]
    window = Between(near[0], near[-1] + timedelta(days=1))
    held = lake.read("bars", dataset=dataset.name, instrument=given.instrument, session=window)
    held = held.join(retracted(lake, dataset.name), on="sequence", how="anti")
    known = lake.read("corporate_actions", dataset=dataset.name, instrument=given.instrument, ex_date=window)
    splits = pl.concat([frame.select("ex_date", "kind", "value") for frame in (known, stated)]).unique()
    inside = splits.filter(pl.col("kind") == "split", pl.col("ex_date").is_between(near[0], near[-1]))
    return beside(given.rows, held.select("ts", "open", "close").sort("ts"), split=float(inside["value"].product()))


class FilesSource:
    """The files that wait in a data set's inbox; asked, it raises UnusableInboxError where they could not be moved.

    With a lake, their prices are compared with the bars that are held.
    """

    def __init__(
        self, dataset: Dataset, settings: Settings, *, calendar: Calendar | None = None, lake: Lake | None = None
    ) -> None:
        self.handled: list[Handled] = []
        self._dataset = dataset
        self._written = watched(dataset)
        self._project = settings.project
        self._calendar = calendar
        self._lake = lake
        self._inbox = Inbox(folder_of(dataset, settings))
        self._queues: dict[str, list[Entry]] | None = None  # of this round, by the instrument that names say
        # a file whose name says no instrument, and what of it is still to be handed on
        self._shared: tuple[Entry, dict[str, Delivery]] | None = None
        # what was handed on in this round, without its rows
        self._given: dict[Entry, list[Delivery]] = defaultdict(list)
        self._seen: set[Entry] = set()
        self._stated: dict[Entry, list[Statement]] = {}
        self._doubts: dict[Entry, tuple[str, ...]] = {}

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:  # noqa: ARG002
        """What waits of it, all of it: a file is given whole, as nobody would ask for the rest."""
        self._require_known([instrument.id])
        queues = self._queues = self._next_round() if self._queues is None else self._queues
        if self._shared and instrument.id in self._shared[1]:
            entry, left = self._shared
            yield left[instrument.id]
            self._hand_on(entry, left.pop(instrument.id))
        before: list[Delivery] = []
        for entry in queues.pop(instrument.id, []):
            given = self._read(entry, instrument.id).get(instrument.id)
            if given and any(given.first <= one.last and given.last >= one.first for one in before):
                return
            self._seen.add(entry)
            if given:
                yield given
                before.append(self._hand_on(entry, given))

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        """What the files state that were read so far: of several that speak of one day, the last one."""
        wanted = [instrument.id for instrument in instruments]
        self._require_known(wanted)
        stated = [
            one.actions.select(pl.lit(one.instrument).alias("instrument"), *ACTIONS.names()[1:])
            for statements in self._stated.values()
            for one in statements
        ]
        actions = pl.concat([ACTIONS.to_frame(), *stated]).filter(pl.col("instrument").is_in(wanted))
        return actions.unique(["instrument", "ex_date", "kind"], keep="last").sort("instrument", "ex_date", "kind")

    def statements(self) -> list[Statement]:
        """What the files of this round state of corporate actions, each for the sessions of its bars."""
        return [one for entry in self._given for one in self._stated[entry]]

    def last_session(self) -> None:
        """It goes on: there may be another file tomorrow."""

    def settle(self) -> None:
        """Put away the files of the round that were handed on whole; the next asking begins a round."""
        for entry, given in self._given.items():
            if self._shared and self._shared[0] == entry and self._shared[1]:
                continue
            spans = (f"{one.instrument} {one.first} to {one.last}" for one in given)
            about = "; ".join([*spans, *(f"suspicious: {doubt}" for doubt in self._doubts[entry])])
            if self._inbox.put_away(entry):
                self._say(entry, "taken in", about)
            else:
                self._say(entry, "left", f"{about} is kept, and it changed or went since; what it is now waits")
        self._queues, self._shared = None, None
        self._given.clear()

    @property
    def has_more(self) -> bool:
        """Does anything wait that no round has had?"""
        return bool(self._fresh())

    def _fresh(self) -> list[Entry]:
        return [entry for entry in settled(self._inbox.folder, at=now()) if entry not in self._seen]

    def _next_round(self) -> dict[str, list[Entry]]:
        """Up to the next file whose name says no instrument; that one alone when it is the first."""
        self._inbox.prepare()
        queues: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._fresh():
            named = answering(entry.name, self._dataset.instruments, whole=False)
            if len(named) == 1:
                queues[named[0]].append(entry)
            elif queues:
                break
            else:
                self._seen.add(entry)
                if read := self._read(entry, None):
                    self._shared = entry, read
                    break
        return queues

    def _read(self, entry: Entry, named: str | None) -> dict[str, Delivery]:
        """The file's deliveries by instrument; none, and it is refused or left, when it cannot be taken."""
        calendar = self._calendar or open_calendar(self._dataset.calendar)
        try:
            require_plain(entry)
            file, doubts = read_for(
                self._dataset,
                calendar,
                self._inbox.path(entry),
                format_name=self._written.format,
                timezone=self._written.timezone,
                label=self._written.label,
                project=self._project,
            )
            owners = _owners(file, entry.name, named, self._dataset.instruments)
            given = {
                owner: delivery(self._dataset, calendar, owner, one, origin=_origin(entry.label, file, one), at=now())
                for owner, one in owners.items()
            }
            for owner, one in owners.items():
                self._require_prices_like_those_held(calendar, given[owner], one.actions)
        except (UnreadableFileError, RefusedFileError) as error:
            self._refuse(entry, str(error))
            return {}
        except ConfigurationError:  # the project's layouts are wrong, and not the file
            raise
        except Exception as error:  # noqa: BLE001 - one file that nobody foresaw must not keep all others waiting
            _log.exception("unforeseen file=%s", entry.label)
            self._refuse(entry, f"reading it ended in an error that nobody foresaw: {type(error).__name__}")
            return {}
        if not self._inbox.is_unchanged(entry):
            self._say(entry, "left", "it changed or went while it was read; what it is now waits")
            return {}
        stated = [statement(file, given[owner], one, source=self._dataset.source.kind) for owner, one in owners.items()]
        self._stated[entry], self._doubts[entry] = [one for one in stated if one], doubts
        return given

    def _hand_on(self, entry: Entry, given: Delivery) -> Delivery:
        remembered = given._replace(rows=given.rows.clear())
        self._given[entry].append(remembered)
        return remembered

    def _refuse(self, entry: Entry, found: str) -> None:
        if self._inbox.refuse(entry, _why(entry, found, self._dataset)):
            self._say(entry, "refused", found)
        else:
            self._say(entry, "left", "it changed or went while it was read; what it is now waits")

    def _say(self, entry: Entry, outcome: Literal["taken in", "refused", "left"], about: str) -> None:
        self.handled.append(Handled(entry.label, outcome, about))

    def _require_prices_like_those_held(self, calendar: Calendar, given: Delivery, stated: pl.DataFrame) -> None:
        if self._lake and (found := beside_held(self._lake, self._dataset, calendar, given, stated)):
            raise OtherPricesError(given.instrument, found[0].sentence)

    def _require_known(self, instruments: Iterable[str]) -> None:
        known = [instrument.id for instrument in self._dataset.instruments]
        for instrument in instruments:
            if instrument not in known:
                raise UnknownInstrumentError(instrument, f"the data set {self._dataset.name}", known)


def _names(instrument: Listed) -> Iterator[tuple[str, ...]]:
    """The words of every name it goes by."""
    without_venue = instrument.id.rpartition(".")[0]
    for name in (instrument.id, without_venue, *instrument.called):
        if words := _WORDS.findall(name.casefold()):
            yield tuple(words)


@lru_cache(10_000)  # a folder of hundreds of files is asked about hundreds of instruments
def _pattern(words: tuple[str, ...], *, whole: bool) -> re.Pattern[str]:
    ends = _BETWEEN + r"\Z" if whole else r"(?![^\W_])"
    return re.compile(_BETWEEN + _BETWEEN.join(map(re.escape, words)) + ends)


def _owners(file: BarFile, name: str, named: str | None, instruments: tuple[Listed, ...]) -> Mapping[str, Series]:
    """Whose bars the series are. Raises RefusedFileError for what does not fit."""
    known = [instrument.id for instrument in instruments]
    owners: dict[str, Series] = {}
    for series in file.series:
        if series.name is None:
            claimants = [named] if named else answering(name, instruments, whole=False)
            where = "the file's name"
            said = name
        else:
            claimants = answering(series.name, instruments, whole=True)
            where, said = "the name of its series", series.name
        if named and claimants != [named]:
            raise ContradictoryFileError(named, [one.name or "" for one in file.series])
        if len(claimants) != 1:
            raise UnclaimedFileError(where, said, claimants, known)
        if claimants[0] in owners:
            raise TwinSeriesError(claimants[0], [owners[claimants[0]].name or "", series.name or ""])
        owners[claimants[0]] = series
    return owners


def _session(dataset: Dataset, calendar: Calendar, ts: datetime) -> date:
    """The session a bar belongs to: a daily bar's date, else the first session that closes after its ts."""
    day = ts.date()
    closes = calendar.closes(day, min(day + _LONGEST_PAUSE, calendar.last)).filter(pl.col("close") > ts)
    if timeframe_us(dataset.timeframe) == timeframe_us("1d"):
        return day
    if closes.is_empty():
        raise CalendarSpanError(calendar.name, day, first=calendar.first, last=calendar.last)
    session: date = closes["session"][0]
    return session


def _origin(label: str, file: BarFile, series: Series) -> str:
    return label if len(file.series) == 1 else f"{label}#{series.name}"


def _why(entry: Entry, found: str, dataset: Dataset) -> str:
    return (
        f"{entry.label} was not taken into {dataset.name}:\n\n    {found}\n\n"
        "Nothing of it was kept. Mend it and drop it into the folder again; or import it by hand, where an instrument, a\n"
        "format, a time zone and a label can be said, and where prices of another size are told and kept all the same:\n\n"
        f"    gauntlet import FILE --dataset {dataset.name} --instrument ID [--format F] [--timezone Z] [--label open|close]\n"
    )
