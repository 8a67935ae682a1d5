"""Unpacks TIFF's LZW and PackBits, and sees whether anything is behind the pixels.

Source: TIFF 6.0 sections 9 and 13.
"""

from __future__ import annotations

from cytoline.deid.accounting.source import DamagedError, SurplusError

_CLEAR, _END = 256, 257
_MAX_CODES = 4096


class _Codes:
    """Codes of 9 to 12 bits, the highest bit first."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._at, self._held, self._have = packed, 0, 0, 0

    def next(self, width: int) -> int:
        """Raises ``DamagedError`` behind the last one."""
        while self._have < width:
            if self._at >= len(self._packed):
                raise DamagedError
            self._held = (self._held << 8 | self._packed[self._at]) & 0xFFFFFF
            self._have, self._at = self._have + 8, self._at + 1
        self._have -= width
        return self._held >> self._have & ((1 << width) - 1)

    def is_spent(self) -> bool:
        """No byte follows, and the bits that fill up the last one are zeros."""
        return self._at == len(self._packed) and not self._held & ((1 << self._have) - 1)


def unpack_lzw(packed: bytes, size: int) -> bytes:
    """``size`` bytes.  Raises ``DamagedError`` if there are fewer, ``SurplusError`` if more or if bytes follow."""
    out, codes = bytearray(), _Codes(packed)
    table = [*(bytes((byte,)) for byte in range(256)), b"", b""]
    if codes.next(9) != _CLEAR:
        raise DamagedError
    width, before = 9, b""
    while (code := codes.next(width)) != _END:
        if code == _CLEAR:
            if not before:
                raise SurplusError  # twice in a row: the number of times could tell something
            del table[_END + 1 :]
            width, before = 9, b""
            continue
        entry = table[code] if code < len(table) else before + before[:1]
        if not entry or code > len(table) or len(table) >= _MAX_CODES:
            raise DamagedError
        out += entry
        if len(out) > size:
            raise SurplusError
        if before:
            table.append(before + entry[:1])
        before = entry
        width = min(max((len(table) + 1).bit_length(), 9), 12)
    if len(out) != size:
        raise DamagedError
    if not codes.is_spent():
        raise SurplusError
    return bytes(out)


def unpack_bits(packed: bytes, size: int) -> bytes:
    """``size`` bytes.  Raises ``DamagedError`` if there are fewer, ``SurplusError`` if more or if bytes follow."""
    out, at = bytearray(), 0
    while len(out) < size:
        head = packed[at : at + 1]
        if not head:
            raise DamagedError
        count = head[0] + 1 if head[0] < 128 else 257 - head[0]
        if head[0] == 128:
            raise SurplusError  # says "nothing", as often as one likes
        taken = packed[at + 1 : at + 1 + (count if head[0] < 128 else 1)]
        if len(taken) != (count if head[0] < 128 else 1):
            raise DamagedError
        out += taken if head[0] < 128 else taken * count
        at += 1 + len(taken)
    if len(out) > size or at != len(packed):
        raise SurplusError
    return bytes(out)
