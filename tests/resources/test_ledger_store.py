"""The ledger's files: written once, in order, whoever writes at the same time."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from quality.ledger import Head, review_is_new, verify
from resources.errors import BrokenLedgerError, UnreadableHeadError
from resources.ledger_store import LedgerStore, published_head
from tests.gate import NIGHT, chain, draft, review_of, reviewed

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from resources.ledger_store import LedgerStore
from tests.gate import draft
ledger = LedgerStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for step in range(int(sys.argv[3])):
    ledger.append(draft("registered", strategy=f"{sys.argv[2]}_{step}@1.0.0"))
"""


@pytest.fixture(params=["folder", "local store", "object storage"])
def ledger(request, tmp_path):
    folder = tmp_path / "ledger"
    stores = {"folder": lambda: folder, "local store": lambda: LocalStore(folder, mkdir=True)}
    return LedgerStore(stores.get(request.param, MemoryStore)())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ledger"


def names(count):
    return [draft("registered", strategy=f"s{n}@1.0.0") for n in range(1, count + 1)]


def test_a_new_ledger_is_empty(ledger):
    assert ledger.entries() == []
    assert ledger.head() is None


def test_what_is_appended_is_read_back_as_a_sound_chain(ledger):
    appended = [ledger.append(each) for each in names(3)]
    assert ledger.entries() == appended == chain(*names(3))
    assert ledger.head() == appended[-1].head
    assert verify(ledger.files(), ledger.head()).ok


def test_an_entry_is_one_file_of_canonical_bytes_under_its_number(folder):
    entry = LedgerStore(folder).append(draft("registered"))
    assert [file.name for file in folder.iterdir()] == ["000000001.json"]
    assert (folder / "000000001.json").read_bytes() == entry.canonical()


def test_other_files_in_the_folder_are_no_entries(folder):
    ledger = LedgerStore(folder)
    entry = ledger.append(draft("registered"))
    for name in ("notes.txt", "2.json", "000000002.json~", "000000002.json.swp"):
        (folder / name).write_text("x", encoding="utf-8")
    (folder / "copy").mkdir()
    (folder / "copy" / "000000002.json").write_text("x", encoding="utf-8")
    assert ledger.entries() == [entry]


def test_who_loses_the_race_follows_the_winner(folder):
    ledger, rival = LedgerStore(folder), LedgerStore(folder)
    first, second, third = names(3)
    ledger.append(first)
    seen = []

    def let_the_rival_in_once(entries):
        seen.append(len(entries))
        if len(seen) == 1:
            rival.append(second)
        return True

    assert ledger.append(third, only_if=let_the_rival_in_once).n == 3
    assert seen == [1, 2]
    assert ledger.entries() == chain(first, second, third)


def test_who_loses_the_race_to_the_same_review_appends_nothing(folder):
    ledger, rival = LedgerStore(folder), LedgerStore(folder)
    ledger.append(draft("registered"))
    decision = review_of()
    asked = []

    def is_new(entries):
        answer = review_is_new(entries, decision, now=NIGHT, expires_days=7)
        if not asked:
            rival.append(reviewed(decision))
        asked.append(answer)
        return answer

    assert ledger.append(reviewed(decision), only_if=is_new) is None
    assert asked == [True, False]
    assert [entry.kind for entry in ledger.entries()] == ["registered", "decision"]


def test_an_expired_review_is_appended_again_with_the_same_id(ledger):
    ledger.append(draft("registered"))
    decision = review_of()
    for day in (0, 3, 7, 8):
        now = NIGHT + timedelta(days=day)
        ledger.append(
            reviewed(decision, at=now),
            only_if=lambda entries, now=now: review_is_new(entries, decision, now=now, expires_days=7),
        )
    reviews = [entry for entry in ledger.entries() if entry.kind == "decision"]
    assert [entry.at - NIGHT for entry in reviews] == [timedelta(days=0), timedelta(days=7)]
    assert {entry.body["decision"] for entry in reviews} == {decision.id}


@pytest.mark.parametrize("content", [b"", b"not json", b"{}"])
def test_nothing_is_read_from_or_added_to_a_broken_ledger(folder, content):
    ledger = LedgerStore(folder)
    for each in names(3):
        ledger.append(each)
    (folder / "000000002.json").write_bytes(content)
    with pytest.raises(BrokenLedgerError, match="the ledger breaks at entry 2: is no entry"):
        ledger.entries()
    with pytest.raises(BrokenLedgerError, match="gauntlet ledger verify"):
        ledger.append(draft("registered"))
    assert [fault.entry for fault in verify(ledger.files()).broken] == [2]


def test_the_published_head_is_the_last_entry(folder, tmp_path):
    ledger = LedgerStore(folder)
    assert ledger.publish_head(tmp_path) is None
    assert published_head(tmp_path) is None
    for each in names(2):
        ledger.append(each)
        assert ledger.publish_head(tmp_path) == published_head(tmp_path) == ledger.head()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["head.json", "ledger"]


def test_publishing_never_hides_a_cut_tail(folder, tmp_path):
    ledger = LedgerStore(folder)
    for each in names(3):
        ledger.append(each)
    before = ledger.publish_head(tmp_path)
    (folder / "000000003.json").unlink()
    with pytest.raises(BrokenLedgerError, match="breaks at entry 3: entry 3 is missing"):
        ledger.publish_head(tmp_path)
    ledger.append(draft("registered", strategy="another_end@1.0.0"))
    with pytest.raises(BrokenLedgerError, match="breaks at entry 3: entry 3 hashes to"):
        ledger.publish_head(tmp_path)
    assert published_head(tmp_path) == before == Head(n=3, hash=before.hash)


@pytest.mark.parametrize("content", ["", "{", '{"n": 0, "hash": ""}', '{"n": 3}'])
def test_a_published_head_that_cannot_be_read_is_said_so(tmp_path, content):
    (tmp_path / "head.json").write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableHeadError, match=r"head\.json holds"):
        published_head(tmp_path)


@pytest.mark.slow
def test_two_processes_never_append_the_same_number(folder):
    steps = 15
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), name, str(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for name in ("left", "right")
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.communicate(b"\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    entries = LedgerStore(folder).entries()
    assert [entry.n for entry in entries] == list(range(1, 2 * steps + 1))
    for name in ("left", "right"):
        own = [entry.strategy for entry in entries if entry.strategy.startswith(name)]
        assert own == [f"{name}_{step}@1.0.0" for step in range(steps)]
