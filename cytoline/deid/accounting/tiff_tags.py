"""The closed list of TIFF fields that say how pixels are stored, with the values that they may have.

Numbers are bounded so that no four letters or digits can be written as one of them.
Source: TIFF 6.0 (baseline and sections 7, 14, 15, 18, 20, 21, 22), Technical Notes 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from cytoline.deid.accounting.numbers import is_plausible_ratio
from cytoline.deid.accounting.tiff_ifd import IFD, IFD8, LONG, LONG8, RATIONAL, SHORT, UNDEFINED

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 330, 338, 339, 347

MAX_SAMPLES = 64
_WHOLE_PICTURE = (1 << 32) - 1
"""RowsPerStrip where there is one strip."""
_TEXT = 1 << 29
"""Four printable characters make a larger number."""
_BLACK_WHITE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)

Values = tuple[int, ...]
Page = Mapping[int, Values]
"""Values of the small numeric fields by tag."""


class Rule(NamedTuple):
    """What one field may look like."""

    kinds: frozenset[int]
    count: Callable[[Page], int]
    """How many values it must have; -1 where the field is checked elsewhere."""
    allows: Callable[[Values, Page], bool]


def samples(page: Page) -> int:
    """SamplesPerPixel."""
    return page.get(SAMPLES, (1,))[0]


def _one(_: Page) -> int:
    return 1


def _elsewhere(_: Page) -> int:
    return -1


def _in(*allowed: int) -> Callable[[Values, Page], bool]:
    return lambda values, _: all(value in allowed for value in values)


def _uniform(*allowed: int) -> Callable[[Values, Page], bool]:
    return lambda values, _: len(set(values)) == 1 and values[0] in allowed


def _positive(values: Values, _: Page) -> bool:
    return 1 <= values[0] < _TEXT


def _rows(values: Values, page: Page) -> bool:
    return 1 <= values[0] <= page.get(HEIGHT, (0,))[0] or values[0] == _WHOLE_PICTURE


def _tile(values: Values, _: Page) -> bool:
    return 16 <= values[0] <= 1 << 16 and values[0] % 16 == 0


def _ratio(values: Values, _: Page) -> bool:
    return is_plausible_ratio(values[0], values[1])


def _colours(page: Page) -> int:
    return {2: 3, 5: 4, 6: 3, 8: 3}.get(page.get(PHOTOMETRIC, (1,))[0], 1)


_SHORT, _LONG = frozenset({SHORT}), frozenset({LONG})
_EITHER, _WIDE = _SHORT | _LONG, frozenset({SHORT, LONG, LONG8})
_RATIONAL = frozenset({RATIONAL})

RULES: dict[int, Rule] = {
    SUBFILE: Rule(_LONG, _one, _in(0, 1)),
    255: Rule(_SHORT, _one, _in(1, 2)),
    WIDTH: Rule(_EITHER, _one, _positive),
    HEIGHT: Rule(_EITHER, _one, _positive),
    # Of deeper samples viewers show the upper eight bits; a picture in the lower ones is seen by nobody.
    BITS: Rule(_SHORT, samples, _uniform(1, 2, 4, 8)),
    COMPRESSION: Rule(_SHORT, _one, lambda values, page: True),
    PHOTOMETRIC: Rule(_SHORT, _one, _in(0, 1, 2, 5, 6, 8)),
    266: Rule(_SHORT, _one, _in(1)),
    STRIP_OFFSETS: Rule(_WIDE, _elsewhere, lambda values, page: True),
    274: Rule(_SHORT, _one, _in(1)),
    SAMPLES: Rule(_SHORT, _one, lambda values, page: values[0] == _colours(page)),
    ROWS_PER_STRIP: Rule(_EITHER, _one, _rows),
    STRIP_SIZES: Rule(_WIDE, _elsewhere, lambda values, page: True),
    282: Rule(_RATIONAL, _one, _ratio),
    283: Rule(_RATIONAL, _one, _ratio),
    PLANAR: Rule(_SHORT, _one, _in(1, 2)),
    296: Rule(_SHORT, _one, _in(1, 2, 3)),
    PREDICTOR: Rule(_SHORT, _one, _in(1, 2, 3)),
    TILE_WIDTH: Rule(_EITHER, _one, _tile),
    TILE_HEIGHT: Rule(_EITHER, _one, _tile),
    TILE_OFFSETS: Rule(_WIDE, _elsewhere, lambda values, page: True),
    TILE_SIZES: Rule(_WIDE, _elsewhere, lambda values, page: True),
    SUB_IFDS: Rule(frozenset({LONG, IFD, LONG8, IFD8}), _elsewhere, lambda values, page: True),
    SAMPLE_FORMAT: Rule(_SHORT, samples, _uniform(1, 2, 3, 4)),
    JPEG_TABLES: Rule(frozenset({UNDEFINED}), _elsewhere, lambda values, page: True),
    530: Rule(_SHORT, lambda page: 2, _in(1, 2, 4)),
    531: Rule(_SHORT, _one, _in(1, 2)),
    532: Rule(_RATIONAL, lambda page: 6, lambda values, page: values == _BLACK_WHITE),
}
