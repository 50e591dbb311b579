"""Where the ledger's files are: one object per entry, in a folder or in object storage.

To append: read the ledger, verify it, build the entry that follows its head, and put it under
its number only if nothing is there. Whoever loses that race starts again on the new head, so
two writers cannot both append number 42 and neither loses an entry.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
import obstore
import rfc8785
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, ObjectStore
from pydantic import ValidationError

from quality.ledger import Draft, Entry, Head, Verification, append_to, read, verify
from resources.errors import BrokenLedgerError, UnreadableHeadError

HEAD_FILE = "head.json"
_ENTRY_FILE = re.compile(r"([0-9]{9})\.json")


class LedgerStore:
    """The ledger under `root`: a folder, created when it is not there, or any obstore store."""

    def __init__(self, root: Path | ObjectStore) -> None:
        self._store = LocalStore(root, mkdir=True) if isinstance(root, Path) else root

    def files(self) -> dict[int, bytes]:
        """The stored bytes by the number in their name, as they are: for `quality.ledger.verify`."""
        names = [meta["path"] for batch in obstore.list(self._store) for meta in batch]
        matches = [match for name in sorted(names) if (match := _ENTRY_FILE.fullmatch(name))]
        return {int(match[1]): obstore.get(self._store, match[0]).bytes().to_bytes() for match in matches}

    def entries(self) -> list[Entry]:
        """All entries in order. Raises `BrokenLedgerError` when the chain does not hold."""
        return _sound(self.files(), None)

    def head(self) -> Head | None:
        """The last entry's number and hash, None when there is none. Raises `BrokenLedgerError`."""
        return _head(self.entries())

    def append(self, draft: Draft, *, only_if: Callable[[Sequence[Entry]], bool] | None = None) -> Entry | None:
        """Append `draft`, or nothing (None) when `only_if` says no of the entries it would follow.

        The condition is asked again after every lost race. Raises `BrokenLedgerError`.
        """
        while True:
            entries = self.entries()
            if only_if is not None and not only_if(entries):
                return None
            entry = append_to(_head(entries), draft)
            try:
                obstore.put(self._store, f"{entry.n:09d}.json", entry.canonical(), mode="create")
            except AlreadyExistsError:
                continue
            return entry

    def publish_head(self, home: Path) -> Head | None:
        """Write the head's number and hash to `home/head.json`, atomically; None when there is no entry.

        Raises `BrokenLedgerError` when the ledger does not contain the head published before: a
        new head would hide that its tail was cut.
        """
        published = published_head(home)  # before the files, which another writer may be adding to
        head = _head(_sound(self.files(), published))
        if head is not None:
            obstore.put(LocalStore(home), HEAD_FILE, rfc8785.dumps(head.model_dump()))
        return head


def published_head(home: Path) -> Head | None:
    """The head in `home/head.json`, None when none was published. Raises `UnreadableHeadError`."""
    file = home / HEAD_FILE
    if not file.exists():
        return None
    content = file.read_bytes()
    try:
        return Head.model_validate_json(content)
    except ValidationError as error:
        raise UnreadableHeadError(file, content) from error


def _head(entries: Sequence[Entry]) -> Head | None:
    return entries[-1].head if entries else None


def _sound(files: dict[int, bytes], published: Head | None) -> list[Entry]:
    verification = verify(files, published)
    if not verification.ok:
        first = verification.broken[0]
        raise BrokenLedgerError(first.entry, first.problem)
    return [read(files[n]) for n in sorted(files)]


class Ledger(dg.ConfigurableResource):
    """The ledger as Dagster hands it to assets: `root` holds the entries, `home` the published head."""

    root: str
    home: str

    def store(self) -> LedgerStore:
        return LedgerStore(Path(self.root))

    def publish_head(self) -> Head | None:
        return self.store().publish_head(Path(self.home))

    def verify(self) -> Verification:
        """Does the chain hold, and does it still contain the head published last?"""
        return verify(self.store().files(), published_head(Path(self.home)))
