"""The inbox: what waits and what does not, and that whatever is moved is neither lost nor overwritten."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from resources.errors import NoPlainFileError, UnusableInboxError
from resources.inbox import (
    DONE,
    REFUSED,
    SETTLED_AFTER,
    WHY,
    Entry,
    Inbox,
    _numbered,
    folder_of,
    require_plain,
    settled,
    waiting,
)
from resources.settings import Settings
from tests.fakes import small_dataset

AT = datetime.now(UTC) + timedelta(hours=1)
FILES = {"kind": "files"}


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    made = Inbox(tmp_path / "home" / "inbox" / "small")
    made.prepare()
    return made


@pytest.fixture
def places(tmp_path: Path) -> Settings:
    return Settings(project=tmp_path, home=tmp_path / "home")


def drop(inbox: Inbox, name: str, text: str = "x", *, ago: timedelta = timedelta(minutes=5)) -> Path:
    """A file in the folder that was last written `ago` before AT."""
    path = inbox.folder / name
    path.write_text(text)
    stamp = (AT - ago).timestamp()
    os.utime(path, (stamp, stamp))
    return path


def one(inbox: Inbox) -> Entry:
    (entry,) = settled(inbox.folder, at=AT)
    return entry


def names(inbox: Inbox) -> list[str]:
    return [entry.name for entry in settled(inbox.folder, at=AT)]


def held(folder: Path) -> dict[str, str]:
    """Every file below the folder, with its text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_files_wait_in_order_of_arrival_then_of_name(inbox: Inbox) -> None:
    drop(inbox, "a.csv", ago=timedelta(minutes=1))
    drop(inbox, "c.csv", ago=timedelta(minutes=3))
    drop(inbox, "b.csv", ago=timedelta(minutes=3))
    assert names(inbox) == ["b.csv", "c.csv", "a.csv"]


@pytest.mark.parametrize(
    "name",
    [
        *(".hidden.csv", "~$prices.xlsx", "prices.csv.part", "prices.csv.tmp", "PRICES.CSV.TMP"),
        *("prices.csv.crdownload", "prices.csv.filepart", ".prices.csv.Xa91"),
    ],
)
def test_what_a_program_is_still_writing_is_left_alone(inbox: Inbox, name: str) -> None:
    drop(inbox, name)
    assert names(inbox) == []


@pytest.mark.parametrize(
    ("ago", "waits"),
    [
        pytest.param(timedelta(0), False, id="written now"),
        pytest.param(SETTLED_AFTER - timedelta(seconds=1), False, id="written a moment ago"),
        pytest.param(SETTLED_AFTER, True, id="written long enough ago"),
        pytest.param(timedelta(days=-3), True, id="brought along from a clock that is ahead, an hour ago"),
    ],
)
def test_a_file_waits_once_nobody_wrote_to_it_for_a_while(inbox: Inbox, ago: timedelta, waits: bool) -> None:  # noqa: FBT001
    drop(inbox, "prices.csv", ago=ago)
    assert names(inbox) == ["prices.csv"] * waits


def test_a_file_that_came_a_moment_ago_from_a_clock_that_is_ahead_does_not_wait(inbox: Inbox) -> None:
    path = inbox.folder / "prices.csv"
    path.write_text("x")
    os.utime(path, (AT.timestamp(), AT.timestamp()))
    assert settled(inbox.folder, at=datetime.now(UTC)) == []


def test_folders_do_not_wait(inbox: Inbox) -> None:
    (inbox.folder / "2024").mkdir()
    drop(inbox, "2024/prices.csv")
    assert names(inbox) == []


def test_a_link_waits_and_is_not_opened(inbox: Inbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    (inbox.folder / "prices.csv").symlink_to(secret)
    entry = one(inbox)
    with pytest.raises(NoPlainFileError, match="it is a link"):
        require_plain(entry)
    moved = inbox.refuse(entry, "why")
    assert moved is not None
    assert moved.is_symlink()
    assert secret.read_text() == "s3cret"


def test_a_pipe_is_not_opened(inbox: Inbox) -> None:
    os.mkfifo(inbox.folder / "prices.csv")
    with pytest.raises(NoPlainFileError, match="a pipe, socket or device"):
        require_plain(one(inbox))
    assert inbox.refuse(one(inbox), "why")


def test_a_file_is_put_away_as_it_is(inbox: Inbox) -> None:
    drop(inbox, "prices.csv", "1,2")
    assert inbox.put_away(one(inbox)) == inbox.folder / DONE / "prices.csv"
    assert held(inbox.folder) == {"done/prices.csv": "1,2"}


def test_nothing_is_overwritten(inbox: Inbox) -> None:
    for text in ("first", "second", "third"):
        drop(inbox, "prices.csv.gz", text)
        inbox.put_away(one(inbox))
    assert held(inbox.folder / DONE) == {
        "prices.csv.gz": "first",
        "prices-2.csv.gz": "second",
        "prices-3.csv.gz": "third",
    }


def test_a_refused_file_lies_beside_its_reason_and_neither_is_overwritten(inbox: Inbox) -> None:
    for text in ("first", "second"):
        drop(inbox, "prices.csv", text)
        inbox.refuse(one(inbox), f"why the {text}")
    drop(inbox, "prices-3.csv.why.txt", "a file that is called like a reason")
    inbox.refuse(one(inbox), "why that")
    drop(inbox, "prices.csv", "third")
    inbox.refuse(one(inbox), "why the third")
    found = held(inbox.folder / REFUSED)
    assert {found.pop(name): found.pop(name + WHY) for name in [*found] if not name.endswith(WHY)} == {
        "first": "why the first",
        "second": "why the second",
        "third": "why the third",
    }
    assert found == {
        "prices-3.csv.why.txt": "a file that is called like a reason",
        "prices-3.csv.why.txt.why.txt": "why that",
    }


def test_a_file_that_was_written_to_meanwhile_stays_and_waits_again(inbox: Inbox) -> None:
    path = drop(inbox, "prices.csv", "half")
    entry = one(inbox)
    path.write_text("half and half")
    assert inbox.put_away(entry) is None
    assert inbox.refuse(entry, "why") is None
    assert held(inbox.folder) == {"prices.csv": "half and half"}


def test_a_file_that_was_exchanged_for_one_of_the_same_size_and_time_stays(inbox: Inbox) -> None:
    drop(inbox, "prices.csv", "one")
    entry = one(inbox)
    drop(inbox, "new.csv", "two").replace(inbox.folder / "prices.csv")
    assert not inbox.is_unchanged(entry)
    assert inbox.put_away(entry) is None


def test_a_file_that_went_is_no_error(inbox: Inbox) -> None:
    path = drop(inbox, "prices.csv")
    entry = one(inbox)
    path.unlink()
    assert inbox.put_away(entry) is None
    assert inbox.refuse(entry, "why") is None
    assert held(inbox.folder) == {}


@pytest.mark.parametrize(
    "name",
    [
        "-rf .csv",
        "a\nb.csv",
        "a\x1b[2Jb.csv",
        "[red]b.csv",
        "<script>alert(1).csv",
        "=1+1.csv",
        "%2e%2e%2fetc.csv",
        "naïve 日本.csv",
        "x" * 251 + ".csv",
        "y" * 200 + "." + "z" * 54,
        b"caf\xe9.csv",
    ],
)
def test_a_hostile_name_is_moved_like_any_other(inbox: Inbox, name: str | bytes) -> None:
    for text in ("one", "two", "three"):
        drop(inbox, os.fsdecode(name), text)
        entry = one(inbox)
        assert entry.label.isprintable()
        entry.label.encode()
        assert inbox.refuse(entry, text) if text == "two" else inbox.put_away(entry)
    texts = sorted(path.read_text() for path in inbox.folder.rglob("*") if path.is_file())
    assert texts == ["one", "three", "two", "two"]


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=300), st.integers(1, 10**6))
@with_settings(max_examples=100)
def test_a_numbered_name_and_its_reason_fit_into_a_directory(name: str, number: int) -> None:
    made = _numbered(name, number)
    assert made
    assert "/" not in made
    assert len(os.fsencode(made + WHY)) <= 255
    assert made != _numbered(name, number + 1)


def test_what_waits_has_a_fingerprint_that_follows_it(inbox: Inbox, places: Settings) -> None:
    dataset = small_dataset(source=FILES)
    assert waiting(dataset, places, at=AT) is None
    drop(inbox, "a.csv")
    first = waiting(dataset, places, at=AT)
    assert first == waiting(dataset, places, at=AT + timedelta(minutes=1))
    drop(inbox, "b.csv.part")
    assert waiting(dataset, places, at=AT) == first
    drop(inbox, "b.csv")
    assert waiting(dataset, places, at=AT) not in (None, first)
    for entry in settled(inbox.folder, at=AT):
        inbox.put_away(entry)
    assert waiting(dataset, places, at=AT) is None


def test_a_folder_that_is_not_there_is_made_when_it_is_looked_at(tmp_path: Path, places: Settings) -> None:
    assert settled(tmp_path / "home" / "inbox" / "small", at=AT) == []
    assert waiting(small_dataset(source=FILES), places, at=AT) is None
    assert (tmp_path / "home" / "inbox" / "small").is_dir()


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        (".", "the factory's own files are in it"),
        ("lake/raw_bars", "the factory keeps its own files there"),
        ("../elsewhere", "is written in full"),
        ("~/Downloads", "is written in full"),
        ("/", "the factory's own files are in it, or below it"),
    ],
)
def test_a_folder_that_is_not_its_own_is_refused(places: Settings, folder: str, reason: str) -> None:
    with pytest.raises(UnusableInboxError, match=reason):
        folder_of(small_dataset(source={**FILES, "folder": folder}), places)


def test_an_absolute_folder_is_taken_as_it_is(places: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dropbox"
    assert folder_of(small_dataset(source={**FILES, "folder": str(elsewhere)}), places) == elsewhere


def test_only_a_data_set_of_files_has_an_inbox(places: Settings) -> None:
    with pytest.raises(UnusableInboxError, match="only a source of kind files"):
        folder_of(small_dataset(), places)


@pytest.fixture
def read_only(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """The folder, not to be written: for root, too, whom permissions do not stop."""
    inbox.folder.chmod(0o555)
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != inbox.folder and may(path, mode))
    yield inbox
    inbox.folder.chmod(0o755)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(read_only: Inbox) -> None:
    with pytest.raises(UnusableInboxError, match="is not writable"):
        read_only.prepare()


def test_a_room_that_is_a_link_is_refused(inbox: Inbox, tmp_path: Path) -> None:
    (inbox.folder / DONE).rmdir()
    (inbox.folder / DONE).symlink_to(tmp_path)
    with pytest.raises(UnusableInboxError, match="done is a link"):
        inbox.prepare()


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("")
    with pytest.raises(UnusableInboxError, match="cannot be used"):
        Inbox(tmp_path / "inbox").prepare()
    with pytest.raises(UnusableInboxError, match="cannot be used"):
        settled(tmp_path / "inbox", at=AT)


MOVER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resources.inbox import Inbox, settled
inbox = Inbox(Path(sys.argv[1]))
for entry in settled(inbox.folder, at=datetime.now(UTC) + timedelta(hours=1)):
    if moved := inbox.put_away(entry):
        print(moved.name)
"""


@pytest.mark.slow
def test_two_processes_that_put_the_same_files_away_move_each_once(inbox: Inbox) -> None:
    for n in range(300):
        drop(inbox, f"{n}.csv", str(n))
    command = [sys.executable, "-c", MOVER, str(inbox.folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    moved = [name for process in both for name in process.communicate()[0].split()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(moved) == 300
    assert sorted((inbox.folder / DONE / name).read_text() for name in moved) == sorted(str(n) for n in range(300))
    assert len(held(inbox.folder)) == 300
