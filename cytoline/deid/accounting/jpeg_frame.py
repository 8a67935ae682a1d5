"""What a JPEG's frame header says: size, precision and how the components are sampled.

Source: ITU-T T.81 A.1.1, A.2, B.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cytoline.deid.accounting.source import DamagedError

BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
_NUMBERS = frozenset({b"\0", b"\1", b"\1\2\3", b"\0\1\2", b"RGB", b"\1\2\3\4", b"\0\1\2\3", b"CMYK"})
"""That encoders give to components; the standard leaves them free, so others could be letters of a word."""


class Band(NamedTuple):
    """Which coefficients a scan codes, in zigzag order, and which of their bits."""

    first: int
    last: int
    high: int
    """The lowest bit coded so far, 0 for the first scan of these coefficients."""
    low: int


@dataclass(frozen=True)
class Component:
    """One colour plane: its sampling factors and which quantiser it uses."""

    ident: int
    across: int
    down: int
    quantiser: int


@dataclass(frozen=True)
class Frame:
    """What SOF says."""

    marker: int
    precision: int
    width: int
    height: int
    components: tuple[Component, ...]

    def is_usually_numbered(self) -> bool:
        """Whether the components have the numbers that encoders give them."""
        return bytes(item.ident for item in self.components) in _NUMBERS

    def interleaved(self) -> tuple[int, int]:
        """Units (MCUs) across and down in a scan of several components."""
        most_across = max(item.across for item in self.components)
        most_down = max(item.down for item in self.components)
        return _ceil(self.width, 8 * most_across), _ceil(self.height, 8 * most_down)

    def units(self, chosen: list[Component]) -> tuple[int, int]:
        """Units across and down in a scan of these components; a single one's units are its blocks."""
        if len(chosen) > 1:
            return self.interleaved()
        most_across = max(item.across for item in self.components)
        most_down = max(item.down for item in self.components)
        width = _ceil(self.width * chosen[0].across, most_across)
        height = _ceil(self.height * chosen[0].down, most_down)
        return _ceil(width, 8), _ceil(height, 8)


def read_frame(marker: int, body: bytes) -> Frame:
    """Raises ``DamagedError`` where a number is outside the standard's range, or the length is not exact."""
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or body[5] not in (1, 3, 4):
        raise DamagedError
    parts = tuple(
        Component(body[at], body[at + 1] >> 4, body[at + 1] & 15, body[at + 2]) for at in range(6, len(body), 3)
    )
    frame = Frame(marker, body[0], int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big"), parts)
    factors = {item.across for item in parts} | {item.down for item in parts}
    if not (frame.width and frame.height and factors <= {1, 2, 3, 4}) or any(item.quantiser > 3 for item in parts):
        raise DamagedError
    if frame.precision != 8 and (frame.precision != 12 or marker == BASELINE):
        raise DamagedError
    return frame


def _ceil(whole: int, part: int) -> int:
    return -(-whole // part)
