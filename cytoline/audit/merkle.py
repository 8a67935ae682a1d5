"""The Merkle tree of RFC 6962, section 2.1: leaves and nodes are hashed under different first bytes.

So no list of other leaves has the same root, and a root in public says nothing about leaves that stay private.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_LEAF = b"\x00"
_NODE = b"\x01"


def root(leaves: Iterable[bytes]) -> str:
    """The tree's hash (64 hex digits) over ``leaves`` in their order; that of nothing is the SHA-256 of nothing."""
    level = [hashlib.sha256(_LEAF + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256().hexdigest()
    # Pairing from the left and lifting an odd one is the RFC's split at the largest power of two, without recursion.
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [hashlib.sha256(_NODE + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)] + odd
    return level[0].hex()
