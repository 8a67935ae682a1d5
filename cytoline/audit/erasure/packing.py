"""What lies in compressed files: a copy in a ZIP, or a table in gzip, shows the person as well as the file itself.

Formats are known by their first bytes, not by names.  What cannot be read (encrypted, damaged, too large, too deep, or
a format that Python cannot unpack) is given as None: nothing can be proved about it.
"""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from cytoline.deid.packed import unpacked

DEEPEST = 4
LARGEST = 1 << 28
"""Bytes of one file that are unpacked."""
_ZIP_END = 1 << 16
_OPAQUE: tuple[bytes, ...] = (
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"\x1f\x9d",
    b"MSCF",
)
_OPAQUE += (b"-----BEGIN PGP MESSAGE", b"age-encryption.org/", b"Salted__")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def opened(content: bytes) -> Iterator[bytes | None]:
    """Each file packed in ``content``; None for what cannot be read."""
    if content.startswith(_OPAQUE):
        yield None
    elif content.startswith(b"PK\x03\x04") or b"PK\x05\x06" in content[-_ZIP_END:]:
        yield from _zipped(content)
    elif content.startswith(b"\x1f\x8b\x08"):
        yield from _stream(content, lambda: zlib.decompressobj(31))
    elif content.startswith(b"BZh"):
        yield from _stream(content, bz2.BZ2Decompressor)
    elif content.startswith(b"\xfd7zXZ\0"):
        yield from _stream(content, lzma.LZMADecompressor)
    elif content.startswith(_ZLIB):
        yield from (part for part in _stream(content, zlib.decompressobj) if part)
    elif content.startswith(b"%PDF") or content[128:132] == b"DICM":
        yield from unpacked(content)
    elif content[257:262] == b"ustar":
        yield from members(content)  # codes in it lie open; only what is packed once more has to be opened


def unreadable(content: bytes, depth: int = 0) -> bool:
    """Whether something in it cannot be read into."""
    return any(part is None or depth >= DEEPEST or unreadable(part, depth + 1) for part in opened(content))


def _stream(content: bytes, begin: object) -> Iterator[bytes | None]:
    """Streams one after the other, as ``gzip`` and ``cat`` make them."""
    assert callable(begin)
    while content:
        stream: _Inflater = begin()
        try:
            plain = stream.decompress(content, LARGEST)
        except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
            yield None
            return
        yield plain
        if not stream.eof:
            yield None
            return
        content = stream.unused_data.lstrip(b"\0")


def _zipped(content: bytes) -> Iterator[bytes | None]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                yield member.filename.encode("utf-8", "surrogateescape")
                try:
                    with archive.open(member) as handle:
                        plain = handle.read(LARGEST + 1)
                    yield plain if len(plain) <= LARGEST else None
                except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, OSError, EOFError):
                    yield None
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        yield from unpacked(content)
        yield None


def members(content: bytes) -> Iterator[bytes]:
    """The files in a tar, as far as it can be read."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                taken = archive.extractfile(member) if member.isfile() else None
                if taken is not None:
                    yield taken.read()
    except (tarfile.TarError, OSError, ValueError):
        return
