"""What a file is, by its content, and its bytes without their wrapping, in chunks of bounded size.

In this order: it is there and no larger than is read; its first bytes say gzip, zip or neither, and below
that Parquet, JSON or text; the name may leave that open, but not say otherwise. A zip holds exactly one
file; what unpacks to more than is read, or a great deal more than its size, is a bomb and is not unpacked.
"""

import gzip
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from resources.errors import (
    ArchiveContentError,
    DamagedFileError,
    DisguisedFileError,
    NoDataError,
    NoSuchFileError,
    OversizedFileError,
)

Kind = Literal["csv", "json", "parquet"]
MAX_BYTES = 1 << 30
MAX_RATIO = 200  # of unpacked to packed bytes, beyond _FREE_BYTES; bars pack by 5 to 20
MAX_WHOLE_BYTES = 1 << 26  # of what cannot be read in chunks; JSON takes ten times that as objects
CHUNK = 1 << 24
LONGEST_LINE = 1 << 20
_FREE_BYTES = 1 << 26
_HEAD = 1 << 16
_EXTENSIONS: dict[str, str] = {
    **dict.fromkeys((".csv", ".txt", ".tsv"), "csv"),
    ".json": "json",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".gz", ".gzip"), "gzip"),
    ".zip": "zip",
}
_SHOWN = {"csv": "text", "json": "JSON", "parquet": "Parquet", "gzip": "gzip", "zip": "a zip archive"}
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DAMAGE = (
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,  # the name of a member
    gzip.BadGzipFile,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_MEMBERS = 16  # of a zip: its one file and folders
_MOST_LISTED = 1 << 16  # bytes of the list of them
_END, _END_BYTES = b"PK\5\6", 22  # of a zip's end record; before it may stand a larger one and its locator
_LARGE_END_BYTES, _LOCATOR, _LOCATOR_BYTES = 56, b"PK\6\7", 20


class Content(NamedTuple):
    """A file that may be read."""

    path: Path
    name: str  # in messages
    inner: str  # the name of what is read: the member's in a zip, without `.gz` in a gzip
    kind: Kind
    wrapping: Literal["gzip", "zip"] | None


def look_into(path: Path) -> Content:
    """Find out what a file is; raises UnreadableFileError when it cannot be read, or is not what its name says."""
    head = _first_bytes(path)
    named = [_EXTENSIONS.get(suffix.lower()) for suffix in path.suffixes[-2:]]
    wrapping: Literal["gzip", "zip"] | None = (
        "gzip" if head.startswith(b"\x1f\x8b") else "zip" if head.startswith(b"PK\x03\x04") else None
    )
    promised = named[-1] if named else None
    if promised != wrapping and {"gzip", "zip"} & {promised, wrapping} and promised is not None:
        found = _SHOWN[wrapping or _kind(head, path.name)]
        raise DisguisedFileError(path.name, found=found, expected=_SHOWN[promised])
    content = Content(path, path.name, _inner_name(path, wrapping), "csv", wrapping)
    with _reading(content) as stream:
        kind = _kind(stream.read(_HEAD), path.name)
    promised = _EXTENSIONS.get(Path(content.inner).suffix.lower())
    if promised not in {None, kind}:
        raise DisguisedFileError(path.name, found=_SHOWN[kind], expected=_SHOWN[str(promised)])
    return content._replace(kind=kind)


def chunks(content: Content) -> Iterator[bytes]:
    """The file's text as UTF-8 without a byte order mark, cut behind line ends; raises UnreadableFileError."""
    with _reading(content) as stream:
        first = stream.read(_HEAD)
        encoding = _BOMS.get(first[:2])
        first = first.removeprefix(b"\xef\xbb\xbf")
        if encoding:  # exports of desktop programs
            text = _as_utf8(content, first + _rest(stream, content), encoding)
            _refuse_long_line(content, text)
            yield text
            return
        rest = first
        while piece := stream.read(CHUNK):
            joined = rest + piece
            _refuse_long_line(content, joined)
            whole, newline, rest = joined.rpartition(b"\n")
            if whole:
                yield _checked(content, whole + newline)
        if rest:
            yield _checked(content, rest)


def whole(content: Content) -> bytes:
    """All bytes of a file that cannot be read in chunks, without its wrapping; raises OversizedFileError."""
    with _reading(content) as stream:
        return _rest(stream, content)


def _rest(stream: "_Bounded", content: Content) -> bytes:
    rest = stream.read(MAX_WHOLE_BYTES + 1)
    if len(rest) > MAX_WHOLE_BYTES:
        raise OversizedFileError(content.name, "cannot be read piece by piece and is large", _size(MAX_WHOLE_BYTES))
    return rest


@contextmanager
def _reading(content: Content) -> Iterator["_Bounded"]:
    try:
        with content.path.open("rb") as file:
            if content.wrapping == "gzip":
                with gzip.open(file) as unpacked:
                    yield _Bounded(unpacked, content)
            elif content.wrapping == "zip":
                with zipfile.ZipFile(file) as archive, archive.open(content.inner) as member:
                    yield _Bounded(member, content)
            else:
                yield _Bounded(file, content)
    except _DAMAGE as error:
        raise DamagedFileError(content.name, str(error) or type(error).__name__) from error
    except OSError as error:
        raise NoSuchFileError(content.name, error.strerror or str(error)) from error


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded:
    """A stream that ends with an error where a bomb would go on."""

    def __init__(self, stream: "_Readable", content: Content) -> None:
        self._stream, self._name = stream, content.name
        packed = content.path.stat().st_size
        self._allowed = min(MAX_BYTES, max(_FREE_BYTES, MAX_RATIO * packed)) if content.wrapping else MAX_BYTES
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        wanted = self._allowed - self._read + 1
        piece = self._stream.read(wanted if size < 0 else min(size, wanted))
        self._read += len(piece)
        if self._read > self._allowed:
            raise OversizedFileError(self._name, "unpacks to more than its size allows", _size(self._allowed))
        return piece


def _first_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise NoSuchFileError(path.name or str(path), "it is a folder")
        if not path.is_file() and path.exists():
            raise NoSuchFileError(path.name, "it is no ordinary file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise OversizedFileError(path.name, f"has {_size(size)}", _size(MAX_BYTES))
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise NoSuchFileError(path.name, getattr(error, "strerror", None) or str(error)) from error
    if not head:
        raise NoDataError(path.name, "it is empty")
    return head


def _inner_name(path: Path, wrapping: str | None) -> str:
    if wrapping == "zip":
        return _only_member(path)
    return path.stem if wrapping == "gzip" and path.suffix.lower() in {".gz", ".gzip"} else path.name


def _only_member(path: Path) -> str:
    try:
        _refuse_many(path)
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except _DAMAGE as error:
        raise DamagedFileError(path.name, str(error)) from error
    if len(members) != 1:
        raise ArchiveContentError(path.name, f"{len(members)} files")
    member = members[0]
    if member.flag_bits & 1:
        raise ArchiveContentError(path.name, "an encrypted file")
    if re.search(r"(^|[\\/])\.\.([\\/]|$)|^[\\/]|^[A-Za-z]:", member.filename):
        raise ArchiveContentError(path.name, f"{member.filename!r}, which points outside it")
    if member.file_size > MAX_BYTES:
        raise OversizedFileError(path.name, f"unpacks to {_size(member.file_size)}", _size(MAX_BYTES))
    return member.filename


def _refuse_many(path: Path) -> None:
    """By a zip's end alone, read as zipfile does, which would make an object of every member that it lists."""
    n_before = _LARGE_END_BYTES + _LOCATOR_BYTES
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (n_before + _END_BYTES + (1 << 16))), os.SEEK_SET)
        tail = file.read()
    without_comment = len(tail) - _END_BYTES
    bare = tail[-_END_BYTES:].startswith(_END) and tail.endswith(b"\0\0")
    at = without_comment if bare else tail.rfind(_END)
    if not 0 <= at <= without_comment:
        return  # zipfile finds no end either
    n_members, n_listed = struct.unpack_from("<HL", tail, at + 10)
    if at >= n_before and tail[at - _LOCATOR_BYTES :].startswith(_LOCATOR):
        n_members, n_listed = struct.unpack_from("<QQ", tail, at - n_before + 32)
    if n_members > _MOST_MEMBERS:
        raise ArchiveContentError(path.name, f"{n_members:,} members")
    if n_listed > _MOST_LISTED:
        raise ArchiveContentError(path.name, f"members whose list alone has {n_listed:,} bytes")


def _kind(head: bytes, name: str) -> Kind:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head[:2] in _BOMS:
        return "csv"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"\0" in head or head[:1] == b"\x1f" or head[:2] == b"PK":
        raise DisguisedFileError(name, found="binary data", expected="bars as text, JSON or Parquet")
    return "json" if text[:1] in {b"{", b"["} else "csv"


def _checked(content: Content, piece: bytes) -> bytes:
    if b"\0" in piece:
        raise DisguisedFileError(content.name, found="binary data", expected="text")
    try:
        piece.decode()
    except UnicodeDecodeError as error:
        start = piece.rfind(b"\n", 0, error.start) + 1
        shown = piece[start : error.end].decode(errors="replace")
        raise DamagedFileError(content.name, f"{shown[-40:]!r} is no UTF-8 text") from error
    return piece


def _refuse_long_line(content: Content, text: bytes) -> None:
    start = 0
    while len(text) - start > LONGEST_LINE:
        end = text.rfind(b"\n", start, start + LONGEST_LINE + 1)
        if end < 0:
            raise DamagedFileError(content.name, f"it has a line of more than {_size(LONGEST_LINE)}, as no bar has")
        start = end + 1


def _as_utf8(content: Content, text: bytes, encoding: str) -> bytes:
    try:
        return text.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise DamagedFileError(content.name, f"it begins as {encoding} text and is none") from error


def _size(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 20):,.0f} MiB"
