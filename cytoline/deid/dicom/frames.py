"""Frames as arrays: decoded under guard, and shown as RGB for whoever looks at or collects them.

Source: PS3.3 C.7.6.3.1.2 (photometric interpretations), C.7.6.3.1.5 (palettes); PS3.5 8.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID

from cytoline.deid.dicom.codestreams import Odd, j2k_size, jpeg_size
from cytoline.deid.dicom.palette import Palette
from cytoline.deid.dicom.refusal import CannotRecreate, guarded
from cytoline.deid.dicom.source import HTJ2K, JPEG, JPEG_2000, Layout, Source
from cytoline.images import RGB

Stored = NDArray[Any]
"""Rows x columns, or rows x columns x 3; unsigned or signed, 8 or 16 bits.  Values, not yet colours."""


def photometric_of(layout: Layout) -> str:
    """What ``stored_frame``'s values mean: decoders give RGB, and 4:2:2 is spread out."""
    if layout.samples == 1:
        return layout.photometric
    if layout.coded:
        return "RGB"
    return "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric


def stored_frame(source: Source, index: int) -> Stored:
    """One frame's values without the bits that no pixel uses.  Raises ``CannotRecreate``."""
    content = source.coded_frame(index)
    with guarded():
        values = decoded(content, source.layout) if source.layout.coded else _native(content, source.layout)
        return without_unused_bits(values, source.layout)


def decoded(content: bytes, layout: Layout) -> Stored:
    """A codestream's values; its own header must agree with the file's before anything is decoded."""
    _check_size(content, layout)
    with guarded("transfer_syntax"):
        options = _options(layout)
        fragment = encapsulate([content + b"\0" * (len(content) % 2)], has_bot=False)
        values, _ = get_decoder(UID(layout.transfer_syntax)).as_array(fragment, index=0, **options)
    shape = (layout.rows, layout.columns) + ((3,) if layout.samples == 3 else ())
    if values.shape != shape or values.dtype.itemsize != layout.allocated // 8:
        raise CannotRecreate("damaged")
    return np.ascontiguousarray(values)


def _options(layout: Layout) -> dict[str, Any]:
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "planar_configuration": int(layout.planar),
        "pixel_keyword": "PixelData",
    }


def without_unused_bits(values: Stored, layout: Layout) -> Stored:
    """Zeros above the stored bits, or copies of the sign: old files keep overlays there."""
    spare = layout.allocated - layout.stored
    if not spare:
        return values
    kind = np.dtype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    raised = np.left_shift(values.view(f"u{kind.itemsize}"), spare).view(kind)
    lowered: Stored = np.right_shift(raised, spare)
    return lowered


def as_rgb(values: Stored, layout: Layout, palette: Palette | None) -> RGB:
    """Eight bits a channel: the top ones of the stored bits, as ``images.read_image`` does with 16-bit grey."""
    if palette is not None:
        return palette.colours(values)
    if values.ndim == 3:
        top = np.asarray(values >> 8 if values.dtype.itemsize == 2 else values).astype(np.uint8)
        if photometric_of(layout) == "YBR_FULL":
            with guarded():
                return np.asarray(convert_color_space(top, "YBR_FULL", "RGB"), dtype=np.uint8)
        return top
    wide = values.astype(np.int32) + ((1 << (layout.stored - 1)) if layout.signed else 0)
    shift = layout.stored - 8
    grey = (wide >> shift if shift >= 0 else wide << -shift).astype(np.uint8)
    return _spread(grey, layout)


def stretched(values: Stored, layout: Layout) -> RGB | None:
    """Deep grey from its darkest to its brightest value, in which faint writing shows; None for other pixels."""
    if values.ndim == 3 or layout.stored <= 8 or layout.photometric == "PALETTE COLOR":
        return None
    wide = values.astype(np.float64)
    low, high = (float(level) for level in np.percentile(wide, (0.5, 99.5)))
    if high <= low:
        low, high = float(wide.min()), max(float(wide.max()), float(wide.min()) + 1)
    return _spread((np.clip((wide - low) / (high - low), 0, 1) * 255).astype(np.uint8), layout)


def _spread(grey: NDArray[np.uint8], layout: Layout) -> RGB:
    shown = 255 - grey if layout.photometric == "MONOCHROME1" else grey
    return np.repeat(shown[:, :, None], 3, axis=2)


def _check_size(content: bytes, layout: Layout) -> None:
    """A codestream that claims another size is a bomb or a mistake."""
    if layout.transfer_syntax not in JPEG | JPEG_2000 | HTJ2K:
        return  # run lengths give no more than 64 times their own length
    try:
        rows, columns, parts, bits = (jpeg_size if layout.transfer_syntax in JPEG else j2k_size)(content)
    except Odd:
        raise CannotRecreate("damaged") from None
    if (rows, columns, parts) != (layout.rows, layout.columns, layout.samples):
        raise CannotRecreate("damaged")
    if bits > layout.allocated:
        raise CannotRecreate("pixel_format")


def _native(content: bytes, layout: Layout) -> Stored:
    kind = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    flat = np.frombuffer(content, kind)
    if layout.photometric == "YBR_FULL_422":
        pairs = flat.reshape(-1, 4)
        spread = np.stack([pairs[:, :2], np.repeat(pairs[:, 2:3], 2, 1), np.repeat(pairs[:, 3:], 2, 1)], axis=2)
        return spread.reshape(layout.rows, layout.columns, 3)
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns).copy()
    if layout.planar:
        return np.ascontiguousarray(flat.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0))
    return flat.reshape(layout.rows, layout.columns, 3).copy()
