"""A palette's numbers: read, shown, and written anew without the entries that no pixel uses.

Source: PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6.  Entries that no pixel points to are a place where words can lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cytoline.deid.dicom.rebuild import put
from cytoline.deid.dicom.refusal import CannotRecreate
from cytoline.images import RGB

_COLOURS = ("Red", "Green", "Blue")
_MOST = 65_536


@dataclass(frozen=True)
class Palette:
    """Three tables of ``entries`` values of 8 or 16 bits; the first belongs to the pixel value ``first``."""

    tables: NDArray[np.uint16]
    first: int
    bits: int

    def places(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """Index of each pixel; values outside point to the first or last entry."""
        return np.clip(values.astype(np.int64) - self.first, 0, self.tables.shape[1] - 1)

    def colours(self, values: NDArray[Any]) -> RGB:
        tops = (self.tables >> (self.bits - 8)).astype(np.uint8)
        return np.ascontiguousarray(tops[:, self.places(values)].transpose(1, 2, 0))

    def merged(self, values: NDArray[Any]) -> NDArray[Any]:
        """The same colours, each from the first entry that has it: two entries of one colour can draw a picture."""
        tops = (self.tables >> (self.bits - 8)).astype(np.int64)
        colours = tops[0] << 16 | tops[1] << 8 | tops[2]
        _, first, which = np.unique(colours, return_index=True, return_inverse=True)
        return np.asarray(first[which.reshape(-1)][self.places(values)] + self.first).astype(values.dtype)

    def write(self, out: Dataset, used: NDArray[np.bool_]) -> None:
        """As words of 16 bits, entries that are not ``used`` as nought; of deep entries what is shown, twice."""
        tops = self.tables >> 8
        shown = tops << 8 | tops if self.bits == 16 else self.tables
        entries = self.tables.shape[1]
        for name, table in zip(_COLOURS, np.where(used, shown, 0), strict=True):
            descriptor = [entries % _MOST, self.first, self.bits]
            put(out, f"{name}PaletteColorLookupTableDescriptor", descriptor, "US")
            put(out, f"{name}PaletteColorLookupTableData", table.astype("<u2").tobytes(), "OW")


def read_palette(header: Dataset) -> Palette:
    """Raises ``CannotRecreate`` for segmented, uneven, signed or damaged palettes."""
    tables, heads = [], set()
    for name in _COLOURS:
        head = [int(number) for number in header.get(f"{name}PaletteColorLookupTableDescriptor") or ()]
        content = header.get(f"{name}PaletteColorLookupTableData")
        if len(head) != 3 or not isinstance(content, bytes):
            raise CannotRecreate("pixel_format")
        heads.add(tuple(head))
        tables.append(_table(content, head[0] % _MOST or _MOST, head[2]))
    if len(heads) != 1 or not 0 <= head[1] < _MOST:
        raise CannotRecreate("pixel_format")
    return Palette(np.stack(tables), head[1], head[2])


def _table(content: bytes, entries: int, bits: int) -> NDArray[np.uint16]:
    if bits not in (8, 16):
        raise CannotRecreate("pixel_format")
    if len(content) == 2 * entries:
        words = np.frombuffer(content, "<u2").astype(np.uint16)
        return np.asarray(words & 0xFF, np.uint16) if bits == 8 else words
    if bits == 8 and len(content) == entries + entries % 2:
        return np.frombuffer(content, np.uint8)[:entries].astype(np.uint16)
    raise CannotRecreate("pixel_format")
