"""Columns kept on the disk: what an indicator said of the very same bars is read instead of computed again.

A column is kept under a hash of all that its values follow from: the project's code, the column's key (its expression
and parameters), and the content of every column of every bar frame that it reads, other instruments' included. A bar
that was restated, cut off or added gives another hash; so nothing is ever told to be outdated.

Kept are float columns made by functions of the engine, whose code is in the hash, from at least `LEAST_BARS` bars:
docs/decisions/0011 says what that gains. A file is the SHA-256 of its name and values, then the values as they lie in
memory, NaN for null; so it is mapped into memory and read nowhere else. One that was damaged is not believed: it is a
miss, and written again.

Several processes may share a folder: a file appears in one step and is never written again, and one that disappears is
a miss. When the folder grows beyond its bound, what was not asked for longest is deleted.
"""

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
import polars as pl

from engine.causal import Column
from engine.evaluation import Frames
from resources.lake import Lake
from resources.settings import numbers_hash

LEAST_BARS = 50_000
DISK_BYTES = 2_000_000_000
MEMORY_BYTES = 500_000_000
TRIMMED_EVERY = 0.1  # of the bound on the folder: how much one process writes before it looks at it again
_DIGEST_BYTES = 32
_OURS = ("engine.", "_operator", "polars.")  # modules that are in the hash, as code or as a pin, and Python's own


class Read(NamedTuple):
    """A column of a bar frame that values follow from."""

    instrument: str
    timeframe: str
    name: str


class Columns:
    """A memo of one market, in memory and on the disk. `hits` were read from the disk, `misses` computed."""

    def __init__(
        self,
        folder: Path,
        frames: Mapping[str, Frames],
        *,
        peers: Collection[str],
        members: pl.DataFrame | None = None,
        disk_bytes: int = DISK_BYTES,
        memory_bytes: int = MEMORY_BYTES,
        least_bars: int = LEAST_BARS,
        code: str | None = None,
    ) -> None:
        """
        Args:
            folder: where files are kept.
            frames: of every instrument, the bars that columns are computed on.
            peers: those that functions across instruments look at, in their order.
            members: `session instrument`, where they look at those only that are members in a bar's session.
            disk_bytes: how large the folder may grow, about.
            memory_bytes: how much is remembered in memory beside it.
            least_bars: what is made of fewer is remembered in memory only.
            code: the hash of what computes; the project's own by default.
        """
        self._folder, self._frames, self._peers, self._members = folder, frames, tuple(peers), members
        self._disk_bytes, self._memory_bytes, self._least_bars = disk_bytes, memory_bytes, least_bars
        self._code = numbers_hash() if code is None else code
        self._remembered: OrderedDict[tuple[str, str], pl.Series] = OrderedDict()
        self._remembered_bytes = 0
        self._files: dict[tuple[str, str], Path | None] = {}
        self._reads: dict[tuple[str, str], frozenset[Read] | None] = {}
        self._digests: dict[Read, str] = {}
        self._unlooked_at = disk_bytes  # bytes that may have been written since the folder's size was known
        self.hits, self.misses = 0, 0

    @property
    def counts(self) -> dict[str, int]:
        """For metadata."""
        return {"columns_read": self.hits, "columns_computed": self.misses}

    def get(self, instrument: str, column: Column) -> pl.Series | None:
        place = (instrument, column.key)
        found = self._remembered.get(place)
        if found is not None:
            self._remembered.move_to_end(place)
            return found
        found = self._read(instrument, column)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._remember(place, found)
        return found

    def put(self, instrument: str, column: Column, values: pl.Series) -> None:
        self._remember((instrument, column.key), values)
        file = self._file(instrument, column)
        if file is not None and values.dtype == pl.Float64 and not values.is_nan().any():
            self._write(file, values)

    def _remember(self, place: tuple[str, str], values: pl.Series) -> None:
        self._remembered[place] = values
        self._remembered_bytes += int(values.estimated_size())
        while self._remembered_bytes > self._memory_bytes:
            _, forgotten = self._remembered.popitem(last=False)
            self._remembered_bytes -= int(forgotten.estimated_size())

    def _read(self, instrument: str, column: Column) -> pl.Series | None:
        file = self._file(instrument, column)
        if file is None:
            return None
        try:
            with file.open("rb") as opened:
                content = memoryview(mmap(opened.fileno(), 0, access=ACCESS_READ))
            os.utime(file)
        except (OSError, ValueError):  # it is not there; it is empty
            return None
        values = content[_DIGEST_BYTES:]
        if content[:_DIGEST_BYTES] != _digest_of(file.name, values):
            return None
        return pl.Series(np.frombuffer(values, np.float64), nan_to_null=True)

    def _write(self, file: Path, values: pl.Series) -> None:
        content = values.fill_null(float("nan")).to_numpy().data
        with suppress(OSError):  # a disk that is full, or not ours: what was computed is still true
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(content.nbytes)
            with NamedTemporaryFile(dir=self._folder, prefix=f"{file.name}.", delete=False) as made:
                made.write(_digest_of(file.name, content))
                made.write(content)
            Path(made.name).replace(file)

    def _make_room(self, n_bytes: int) -> None:
        self._unlooked_at += n_bytes
        if self._unlooked_at < TRIMMED_EVERY * self._disk_bytes:
            return
        self._unlooked_at = 0
        kept = sorted((file.stat().st_mtime_ns, file.stat().st_size, file) for file in self._folder.iterdir())
        too_many = sum(size for _, size, _ in kept) - (1 - TRIMMED_EVERY) * self._disk_bytes
        for _, size, file in kept:
            if too_many <= 0:
                return
            file.unlink(missing_ok=True)
            too_many -= size

    def _file(self, instrument: str, column: Column) -> Path | None:
        """Where a column is kept; None for one that is not."""
        place = (instrument, column.key)
        if place not in self._files:
            self._files[place] = self._named(instrument, column)
        return self._files[place]

    def _named(self, instrument: str, column: Column) -> Path | None:
        reads = self._read_by(instrument, column)
        if reads is None or self._n_bars(reads) < self._least_bars:
            return None
        content = [(*read, self._digest(read)) for read in sorted(reads)]
        looks_across = any(node.across for node in column.walk().values())
        others = self._looked_at if looks_across else ""
        identity = repr((self._code, instrument, others, column.key, content))
        return self._folder / sha256(identity.encode()).hexdigest()

    @cached_property
    def _looked_at(self) -> str:
        """Whom functions across instruments look at, and when."""
        when = "" if self._members is None else self._members.sort("session", "instrument").write_csv()
        return sha256(repr((self._peers, when)).encode()).hexdigest()

    def _n_bars(self, reads: Collection[Read]) -> int:
        frames = {(read.instrument, read.timeframe) for read in reads}
        return sum(self._frames[instrument][timeframe].height for instrument, timeframe in frames)

    def _digest(self, read: Read) -> str:
        if read not in self._digests:
            values = self._frames[read.instrument][read.timeframe][read.name]
            content = values.to_physical()
            known = content.is_not_null().cast(pl.UInt8).to_numpy()
            hashed = sha256(repr((str(values.dtype), len(values))).encode() + known.tobytes())
            hashed.update(content.fill_null(0).to_numpy().tobytes())
            self._digests[read] = hashed.hexdigest()
        return self._digests[read]

    def _read_by(self, instrument: str, column: Column) -> frozenset[Read] | None:
        """What a column's values follow from; None where code is among it that the hash does not cover."""
        place = (instrument, column.key)
        if place not in self._reads:
            self._reads[place] = self._found_reads(instrument, column)
        return self._reads[place]

    def _found_reads(self, instrument: str, column: Column) -> frozenset[Read] | None:
        if not _is_ours(column):
            return None
        asked, timeframe = column.instrument or instrument, column.timeframe
        stand_ins = [f"operand {n}" for n in range(len(column.operands))]
        names = column.function(*map(pl.col, stand_ins)).meta.root_names()
        own = {"known_at", "session", *names} - {*stand_ins}
        parts = [frozenset(Read(asked, timeframe, name) for name in own)]
        lookers = [one for one in self._peers if timeframe in self._frames[one]] if column.across else [instrument]
        for looker in lookers:
            for operand in column.operands:
                read = self._read_by(looker, operand)
                if read is None:
                    return None
                parts.append(read)
        return frozenset().union(*parts)


def beside(
    lake: Lake, frames: Mapping[str, Frames], *, peers: Collection[str], members: pl.DataFrame | None
) -> Columns:
    """The columns that are kept beside a lake, as a memo of this market."""
    return Columns(Path(lake.root).with_name("columns"), frames, peers=peers, members=members)


def _is_ours(column: Column) -> bool:
    makers = [column.function.__module__, *([column.across.__module__] if column.across else [])]
    return all(maker.startswith(_OURS) for maker in [*makers, *([column.kernel] if column.kernel else [])])


def _digest_of(name: str, content: memoryview) -> bytes:
    hashed = sha256(name.encode())
    hashed.update(content)
    return hashed.digest()
