"""A coded frame without words, shown to hold nothing but pixels; else ``Odd``.

The new codestream must decode to the same values, and the decoder must need the last byte of each coded stretch: it
stops after the last block, and words may follow.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cytoline.deid import jpeg
from cytoline.deid.dicom.codestreams import Odd, j2k_ends, j2k_rewrite, jpeg_tables_are_read
from cytoline.deid.dicom.frames import Stored, decoded
from cytoline.deid.dicom.refusal import CannotRecreate
from cytoline.deid.dicom.source import JPEG, Layout
from cytoline.images import RGB, UnreadableImage, read_image

_FLIPS = (0xFF, 0x80, 0x40, 0x20, 0xC0, 0x01)


Vouches = Callable[[bytes], bool]
"""Says of a JPEG whether each of its bytes is accounted for, by means that share no code with ours."""


def plain_codestream(content: bytes, layout: Layout, vouches: Vouches | None = None) -> bytes:
    """Raises ``Odd`` where the frame is better written uncompressed, ``CannotRecreate`` where it cannot be decoded."""
    values = decoded(content, layout)
    try:
        plain = _plain_jpeg(content, layout) if layout.transfer_syntax in JPEG else _plain_j2k(content, values, layout)
    except (IndexError, KeyError, ValueError):  # a segment shorter than what it must hold
        raise Odd from None
    if not _same(plain, values, layout):
        raise Odd
    if vouches is not None and layout.transfer_syntax in JPEG and not vouches(plain):
        raise Odd
    return plain


def _plain_jpeg(content: bytes, layout: Layout) -> bytes:
    try:
        plain = jpeg.rewrite(content)
        if jpeg.verify(plain) is not None or not jpeg_tables_are_read(plain):
            raise Odd
        tail = jpeg.may_hide_words(plain, lambda flipped: _rgb(flipped, layout))
    except (jpeg.OddJpegError, UnreadableImage):
        raise Odd from None
    if tail:
        raise Odd
    return plain


def _rgb(content: bytes, layout: Layout) -> RGB:
    return read_image(content, layout.rows * layout.columns)


def _plain_j2k(content: bytes, values: Stored, layout: Layout) -> bytes:
    plain = j2k_rewrite(content)
    if jpeg.reads_as_text(plain):
        raise Odd
    for end in j2k_ends(plain):
        if not any(_shows(plain, end, flip, values, layout) for flip in _FLIPS):
            raise Odd
    return plain


def _shows(plain: bytes, end: int, flip: int, values: Stored, layout: Layout) -> bool:
    """Whether the picture is another when the byte before ``end`` is; a decoder that gives up shows nothing."""
    changed = plain[: end - 1] + bytes((plain[end - 1] ^ flip,)) + plain[end:]
    try:
        return not np.array_equal(decoded(changed, layout), values)
    except CannotRecreate:
        return False


def _same(plain: bytes, values: Stored, layout: Layout) -> bool:
    try:
        return np.array_equal(decoded(plain, layout), values)
    except CannotRecreate:
        return False
