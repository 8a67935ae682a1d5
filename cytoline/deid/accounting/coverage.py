"""Which bytes of a file something refers to: none twice, none never."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cytoline.deid.accounting.source import Source
from cytoline.deid.finding import Why

Offsets = NDArray[np.int64]
_ALIGNMENT = 16
"""Writers start values and tiles at even offsets, or at multiples of up to so many bytes."""


@dataclass
class Coverage:
    """Ranges claimed so far."""

    _single: list[tuple[int, int]] = field(default_factory=list)
    _many: list[Offsets] = field(default_factory=list)

    def add(self, start: int, size: int) -> None:
        """A structure; nothing else may lie where it does."""
        self._single.append((start, start + size))

    def add_data(self, starts: Offsets, sizes: Offsets) -> None:
        """Tiles or strips; the very same range may be claimed by several of them."""
        self._many.append(np.stack([starts, starts + sizes], axis=1))

    def judge(self, content: Source) -> set[Why]:
        """``damaged`` for overlaps, ``unused`` for bytes between ranges, ``trailing`` for bytes behind the last."""
        data = np.concatenate([*self._many, np.empty((0, 2), np.int64)])
        data = data[distinct(data)]
        ranges = np.concatenate([data, np.array(self._single, np.int64).reshape(-1, 2)])
        ranges = ranges[np.lexsort((ranges[:, 1], ranges[:, 0]))]
        reached = np.maximum.accumulate(ranges[:, 1])
        found: set[Why] = set()
        if (ranges[1:, 0] < reached[:-1]).any():
            found.add("damaged")
        for index in np.flatnonzero(ranges[1:, 0] > reached[:-1]).tolist():
            if not _is_alignment(content, int(reached[index]), int(ranges[index + 1, 0])):
                found.add("unused")
                break
        if ranges[0, 0] > 0:
            found.add("unused")
        if reached[-1] < len(content):
            found.add("trailing")
        return found


def distinct(pairs: Offsets) -> NDArray[np.intp]:
    """Indices of one of each, in order (``np.unique`` by rows takes ten times as long)."""
    order: NDArray[np.intp] = np.lexsort((pairs[:, 1], pairs[:, 0]))
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[order][1:] != pairs[order][:-1]).any(axis=1)
    return np.asarray(order[new], np.intp)


def _is_alignment(content: Source, start: int, end: int) -> bool:
    """Zeros up to the next multiple, and no more of them than that takes."""
    step = min(end & -end, _ALIGNMENT)
    return end - start < step and not any(content[start:end])
