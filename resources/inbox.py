"""An inbox: the folder that a data set of kind `files` watches.

    inbox/crypto_5m/        what is dropped here waits
        done/               what was taken in
        refused/            what was not, each beside a <name>.why.txt that says why

1. An entry waits once it has settled: nobody has written to it for a while. Names that programs
   give to what they are still writing are left alone, and so are folders.
2. What was dealt with is moved, never copied and never deleted, and nothing is overwritten: a name
   that is taken gets a number. A name is reserved by making it before anything is moved onto it, so
   two movers cannot meet in one place.
3. An entry that changed since it was looked at is not moved; it waits again, as what it is now.

Links and devices are never opened: what is moved to `refused/` is the link itself.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple

from quality.datasets import Dataset, FilesSource
from resources.errors import NoPlainFileError, UnusableInboxError
from resources.settings import Settings

SETTLED_AFTER = timedelta(seconds=10)
DONE, REFUSED = "done", "refused"
WHY = ".why.txt"
_UNFINISHED = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", ".swp")
_UNSEEN = (".", "~")
_OWN_FOLDERS = ("lake", "ledger", "dagster", "numba")  # of the home folder
_LONGEST_NAME = 255  # bytes, of nearly every file system


class Entry(NamedTuple):
    """Something in the folder, as it was when it was looked at."""

    changed_ns: int
    name: str
    size: int
    mode: int
    touched_ns: int  # when the file system last noted a change, on the clock of this machine
    identity: tuple[int, int]

    @property
    def label(self) -> str:
        return printable(self.name)


def printable(name: str) -> str:
    """A file's name as it can be printed and stored, whatever bytes it is made of."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def watched(dataset: Dataset) -> FilesSource:
    """What a data set of kind `files` says of its inbox. Raises UnusableInboxError for one of another kind."""
    if not isinstance(dataset.source, FilesSource):
        raise UnusableInboxError(
            dataset.name, f"its source is {dataset.source.kind}, and only a source of kind files has one"
        )
    return dataset.source


def folder_of(dataset: Dataset, settings: Settings) -> Path:
    """The folder that is watched for a data set of kind `files`. Raises UnusableInboxError where it must not be."""
    named = Path(watched(dataset).folder or f"inbox/{dataset.name}")
    if not named.is_absolute() and (".." in named.parts or str(named).startswith("~")):
        raise UnusableInboxError(named, "a folder outside of the home folder is written in full, from its root on")
    folder = (settings.home / named).resolve()
    if folder in (settings.home, *settings.home.parents, settings.project):
        raise UnusableInboxError(folder, "the factory's own files are in it, or below it")
    if any(folder.is_relative_to(settings.home / own) for own in _OWN_FOLDERS):
        raise UnusableInboxError(folder, "the factory keeps its own files there")
    return folder


def require_own_inboxes(datasets: Iterable[Dataset], settings: Settings) -> None:
    """Raises UnusableInboxError where an inbox may not be, or is that of another data set too."""
    owners: dict[Path, str] = {}
    for dataset in datasets:
        if dataset.takes_files:
            folder = folder_of(dataset, settings)
            if folder in owners:
                raise UnusableInboxError(folder, f"{owners[folder]} and {dataset.name} would take each other's files")
            owners[folder] = dataset.name


def waiting(dataset: Dataset, settings: Settings, *, at: datetime) -> str | None:
    """What waits in a data set's inbox at the instant `at`, as a hash of names, sizes and times; None when nothing does.

    It is asked every few seconds, so it opens no file; and where the folder is missing it makes it, as nobody can drop
    anything into a folder that is not there.
    """
    folder = folder_of(dataset, settings)
    with suppress(OSError):  # told when something is taken in
        folder.mkdir(parents=True, exist_ok=True)
    entries = settled(folder, at=at)
    if not entries:
        return None
    seen = "\n".join(
        f"{entry.label} {entry.size} {entry.changed_ns} {entry.touched_ns} {entry.identity}" for entry in entries
    )
    return f"sha256:{sha256(seen.encode()).hexdigest()}"


def settled(folder: Path, *, at: datetime) -> list[Entry]:
    """What waits in the folder at the instant `at`, in order of arrival; nothing where there is no folder."""
    with _told(folder):
        try:
            names = [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        found = [_look(folder, name) for name in names if _is_finished(name)]
    return sorted(entry for entry in found if entry and not stat.S_ISDIR(entry.mode) and _has_settled(entry, at))


def require_plain(entry: Entry) -> None:
    """Raises NoPlainFileError for what must not be opened: it may lead anywhere, or never end."""
    if not stat.S_ISREG(entry.mode):
        raise NoPlainFileError(is_link=stat.S_ISLNK(entry.mode))


class Inbox:
    """One watched folder, with room for what was dealt with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder and its two rooms; raises UnusableInboxError where files could not be moved afterwards."""
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for room in (self.folder / DONE, self.folder / REFUSED):
                if room.is_symlink():
                    raise UnusableInboxError(self.folder, f"{room.name} is a link")
                room.mkdir(exist_ok=True)
        for room in (self.folder, self.folder / DONE, self.folder / REFUSED):
            if not os.access(room, os.W_OK | os.X_OK):
                raise UnusableInboxError(self.folder, f"{room} is not writable")

    def path(self, entry: Entry) -> Path:
        return self.folder / entry.name

    def is_unchanged(self, entry: Entry) -> bool:
        """Is it still there, and still what was looked at?"""
        with _told(self.folder):
            return _look(self.folder, entry.name) == entry

    def put_away(self, entry: Entry) -> Path | None:
        """Move it to `done/`, and say where it is now; None, and nothing moved, when it changed or went."""
        return self._move(entry, DONE)

    def refuse(self, entry: Entry, why: str) -> Path | None:
        """Move it to `refused/` beside the reason, and say where it is now; None when it changed or went."""
        moved = self._move(entry, REFUSED)
        if moved:
            with _told(self.folder):
                moved.with_name(moved.name + WHY).write_text(why, encoding="utf-8")
        return moved

    def _move(self, entry: Entry, room: str) -> Path | None:
        if not self.is_unchanged(entry):
            return None
        with _told(self.folder):
            target = _reserve(self.folder / room, entry.name)
            try:
                self.path(entry).replace(target)
            except FileNotFoundError:  # another took it a moment ago
                target.unlink()
                return None
            except OSError:
                target.unlink()
                raise
        return target


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnusableInboxError(folder, error.strerror or str(error)) from error


def _is_finished(name: str) -> bool:
    return not name.startswith(_UNSEEN) and not name.lower().endswith(_UNFINISHED)


def _look(folder: Path, name: str) -> Entry | None:
    with suppress(FileNotFoundError):
        seen = os.lstat(folder / name)
        return Entry(seen.st_mtime_ns, name, seen.st_size, seen.st_mode, seen.st_ctime_ns, (seen.st_dev, seen.st_ino))
    return None


def _has_settled(entry: Entry, at: datetime) -> bool:
    """A time after `at` was brought along from another machine's clock: then it counts when the file came here."""
    changed = _instant(entry.changed_ns)
    return (changed if changed <= at else _instant(entry.touched_ns)) <= at - SETTLED_AFTER


def _instant(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def _reserve(room: Path, name: str) -> Path:
    """An empty file under a name that nothing has, and whose reason nothing has: `name`, or `name` with a number."""
    for number in count(1):
        target = room / _numbered(name, number)
        if os.path.lexists(target.with_name(target.name + WHY)):
            continue
        with suppress(FileExistsError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return target
    raise AssertionError  # numbers do not end


def _numbered(name: str, number: int) -> str:
    """`prices.csv.gz`, `prices-2.csv.gz`, …; shortened where name and reason would not fit into a name."""
    path = Path(name)
    suffix = "".join(path.suffixes[-2:]) if path.suffix.lower() in {".gz", ".zip"} else path.suffix
    if len(os.fsencode(suffix)) > 16:
        suffix = ""
    ending = suffix if number == 1 else f"-{number}{suffix}"
    stem = os.fsencode(name.removesuffix(suffix))
    room = _LONGEST_NAME - len(os.fsencode(ending + WHY))
    kept = os.fsdecode(stem) if len(stem) <= room else stem[:room].decode(errors="ignore")
    return kept + ending
