"""Pictures that a training reads again every epoch, decoded once and kept as long as there is room.

Decoding PNG files took an eighth of a classifier's training step.  What does not fit is decoded again: the least
recently read goes first, so memory stays bounded whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from cachetools import LRUCache

from cytoline.images import RGB

MEGABYTES = 768


class DecodedImages:
    """A bounded memory of decoded pictures, one per process that loads data."""

    def __init__(self, megabytes: float = MEGABYTES) -> None:
        self._kept: LRUCache[Hashable, RGB] = LRUCache(megabytes * 2**20, getsizeof=lambda image: image.nbytes)

    def get(self, key: Hashable, decode: Callable[[], RGB]) -> RGB:
        """The picture called ``key``, uint8 [H, W, 3]; the caller may write into it."""
        image = self._kept.get(key)
        if image is None:
            image = decode()
            if image.nbytes <= self._kept.maxsize:
                self._kept[key] = image
        return image.copy()
