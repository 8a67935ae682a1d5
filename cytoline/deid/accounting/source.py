"""What every parser here shares: bytes that are never copied whole, and the one exception that a parser raises."""

from __future__ import annotations

import mmap

Source = bytes | mmap.mmap
"""Slices of either are ``bytes``; only slices are taken, so a file of gigabytes stays on the disk."""


class DamagedError(Exception):
    """The structure does not hold together; carries nothing out of the file."""


class SurplusError(Exception):
    """More is coded than the pixels need."""


def cut(content: Source, start: int, size: int) -> bytes:
    """Exactly ``size`` bytes.  Raises ``DamagedError`` where the file does not have them."""
    if start < 0 or size < 0 or start + size > len(content):
        raise DamagedError
    return content[start : start + size]
