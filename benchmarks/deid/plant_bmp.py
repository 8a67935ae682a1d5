"""Hiding places in a BMP: reserved bytes, colour space fields, profiles, gaps, row padding, trailer."""

from __future__ import annotations

import struct

from benchmarks.deid import icc_bytes
from benchmarks.deid.canary import Canary, Kind
from benchmarks.deid.ground import swatch
from benchmarks.deid.place import Make, Place, in_file

LINKED, EMBEDDED, SRGB = b"KNIL", b"DEBM", b"BGRs"
"""Colour spaces of a V5 header, as they lie in the file."""
_INFO, _V5 = 40, 124


def places() -> list[Place]:
    """Every place of a BMP."""
    carries: dict[str, Kind] = {"reserved": "quad", "endpoints": "token"}
    return [
        in_file(f"bmp/{name}", "bmp", "image.bmp", make, carries.get(name, "text")) for name, make in _MAKES.items()
    ]


def bmp(
    canary: Canary,
    reserved: bytes = bytes(4),
    gap: bytes = b"",
    padding: bytes = b"",
    behind: bytes = b"",
    v5: tuple[bytes, bytes, bool] | None = None,
) -> bytes:
    """24 bits without compression; ``v5`` gives colour space, end points and whether ``behind`` is its profile."""
    rgb = swatch(canary.token)[:, :-2]  # two bytes of padding per row
    height, width, _ = rgb.shape
    letters = padding.ljust(2 * height, b"\0")
    pixels = b"".join(row[:, ::-1].tobytes() + letters[2 * i : 2 * i + 2] for i, row in enumerate(rgb[::-1]))
    size = _V5 if v5 else _INFO
    info = struct.pack("<IiiHHIIiiII", size, width, height, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    at = 14 + size + len(gap)
    if v5:
        space, ends, profile = v5
        info += bytes(16) + space + ends.ljust(36, b"\0") + bytes(12) + struct.pack("<I", 4)
        info += struct.pack("<III", size + len(gap) + len(pixels) if profile else 0, len(behind) if profile else 0, 0)
    total = at + len(pixels) + len(behind)
    return b"BM" + struct.pack("<I", total) + reserved + struct.pack("<I", at) + info + gap + pixels + behind


def palette_bmp(canary: Canary) -> bytes:
    """8 bits; the palette goes on behind the 64 grey levels that are used."""
    grey = swatch(canary.token)[:, :, 1] // 4
    height, width = grey.shape
    palette = b"".join(bytes((4 * i, 4 * i, 4 * i, 0)) for i in range(64))
    palette += canary.text.encode() + bytes(-len(canary.text) % 4)
    at = 14 + _INFO + len(palette)
    info = struct.pack("<IiiHHIIiiII", _INFO, width, height, 1, 8, 0, grey.size, 0, 0, len(palette) // 4, 0)
    return b"BM" + struct.pack("<III", at + grey.size, 0, at) + info + palette + grey[::-1].tobytes()


_MAKES: dict[str, Make] = {
    "reserved": lambda c: bmp(c, reserved=c.quad),
    "gap": lambda c: bmp(c, gap=c.text.encode()),
    "row-padding": lambda c: bmp(c, padding=c.text.encode()),
    "palette-unused": palette_bmp,
    "endpoints": lambda c: bmp(c, v5=(SRGB, c.token.encode(), False)),
    "profile-path": lambda c: bmp(c, behind=f"C:\\Patients\\{c.text}.icc\0".encode(), v5=(LINKED, b"", True)),
    "profile": lambda c: bmp(c, behind=icc_bytes.profile(copyright_=c.text), v5=(EMBEDDED, b"", True)),
    "trailer": lambda c: bmp(c, behind=c.text.encode()),
    "trailer-utf16": lambda c: bmp(c, behind=c.text.encode("utf-16-le")),
}
