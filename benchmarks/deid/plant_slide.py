"""Hiding places of whole-slide files: Aperio SVS, Hamamatsu NDPI, Philips TIFF.

Layouts as OpenSlide reads them: tiled directories are levels; label and macro are named by the second line of
their description; NDPI keeps its words in tags 65420 to 65480; Philips keeps base64 images and barcodes in XML.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.deid import icc_bytes, xmp_text
from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import after_jfif, coded, segment
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import BYTE, UNDEFINED, Entries, Tiff, ascii_, long, rational, short
from cytoline.images import RGB

TILE, LEVEL = 128, (320, 240)
_APERIO = "Aperio Image Library v11.2.1 \r\n"
_BASE = "{} [0,0 320x240] (128x128) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
Change = Callable[[bytes], bytes]


@dataclass
class Svs:
    """What differs from a clean SVS file."""

    properties: str = ""
    thumbnail: str = ""
    label: str = ""
    macro: str = ""
    base: Entries = field(default_factory=dict)
    label_pixels: bytes = b""
    tile: Change | None = None
    macro_jpeg: Change | None = None
    unlinked: bytes = b""
    unreferenced: bytes = b""

    def file(self, canary: Canary) -> bytes:
        """Level 0, thumbnail, level 1, label, macro, in Aperio's order."""
        tiff, rgb = Tiff(), swatch(canary.token)
        if self.unlinked:
            tiff.directory({270: (2, self.unlinked + b"\0")})
        if self.unreferenced:
            tiff.put(self.unreferenced)
        base = _tiled(tiff, rgb, {270: ascii_(_APERIO + _BASE.format("320x240") + self.properties), **self.base}, self)
        small = rgb[::4, ::4].copy()
        words = _APERIO + "320x240 -> 80x60 - |AppMag = 20" + self.thumbnail
        thumbnail = _strip_jpeg(tiff, small, {270: ascii_(words)})
        second = _tiled(tiff, rgb[::2, ::2].copy(), {270: ascii_(_APERIO + _BASE.format("160x120"))}, None)
        return tiff.chain([base, thumbnail, second, self._label(tiff), self._macro(tiff, small)])

    def _label(self, tiff: Tiff) -> int:
        label = swatch("label")[:60, :60].copy()
        label.reshape(-1)[: len(self.label_pixels)] = list(self.label_pixels)
        words = ascii_(f"{_APERIO}label 60x60{self.label}")
        return tiff.page(label, {254: long(1), 270: words})

    def _macro(self, tiff: Tiff, small: RGB) -> int:
        words = ascii_(f"{_APERIO}macro 80x60{self.macro}")
        return _strip_jpeg(tiff, small, {254: long(9), 270: words}, self.macro_jpeg)


def _tiled(tiff: Tiff, rgb: RGB, extra: Entries, svs: Svs | None) -> int:
    """A level of JPEG tiles; the first one may be changed."""
    height, width, _ = rgb.shape
    offsets: list[int] = []
    counts: list[int] = []
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            tile = rgb[y : y + TILE, x : x + TILE]
            full = tile.copy() if tile.shape == (TILE, TILE, 3) else _filled(tile)
            data = coded(full)
            if svs and svs.tile and not offsets:
                data = svs.tile(data)
            offsets.append(tiff.put(data))
            counts.append(len(data))
    coding = {259: short(7), 262: short(6), 530: short(2, 2), 258: short(8, 8, 8), 277: short(3)}
    tiles = {322: long(TILE), 323: long(TILE), 324: long(*offsets), 325: long(*counts)}
    return tiff.directory({256: long(width), 257: long(height), **coding, **tiles, **extra})


def _filled(tile: RGB) -> RGB:
    """The tile on a white square."""
    full = np.full((TILE, TILE, 3), 245, np.uint8)
    full[: tile.shape[0], : tile.shape[1]] = tile
    return full


def _strip_jpeg(tiff: Tiff, rgb: RGB, extra: Entries, change: Change | None = None) -> int:
    data = coded(rgb)
    data = change(data) if change else data
    strip = {259: short(7), 262: short(6), 530: short(2, 2), 273: long(tiff.put(data)), 279: long(len(data))}
    return tiff.page(rgb, {**strip, **extra})


def _comment(canary: Canary) -> Change:
    return lambda jpeg: after_jfif(jpeg, segment(0xFE, canary.text.encode()))


def _app1(canary: Canary) -> Change:
    return lambda jpeg: after_jfif(jpeg, segment(0xE1, xmp_text.JPEG_HEAD + xmp_text.packet(canary.text)))


def _property(key: str) -> Callable[[Canary], Svs]:
    return lambda c: Svs(properties=f"|{key} = {c.text}|Left = 25.6")


_SVS: Mapping[str, Callable[[Canary], Svs]] = {
    **{f"aperio-{key.replace(' ', '-')}": _property(key) for key in ("Title", "Filename", "User", "ScanScope ID")},
    "aperio-unknown-key": _property("Bench Note"),
    "thumbnail-description": lambda c: Svs(thumbnail=f"|Filename = {c.text}"),
    "label-description": lambda c: Svs(label=f"|Title = {c.text}"),
    "macro-description": lambda c: Svs(macro=f"|Title = {c.text}"),
    "label-pixels": lambda c: Svs(label_pixels=c.text.encode()),
    "macro-COM": lambda c: Svs(macro_jpeg=_comment(c)),
    "tile-COM": lambda c: Svs(tile=_comment(c)),
    "tile-APP1": lambda c: Svs(tile=_app1(c)),
    "tile-after-EOI": lambda c: Svs(tile=lambda jpeg: jpeg + c.text.encode()),
    "unlinked-label": lambda c: Svs(unlinked=f"{_APERIO}label 60x60|Title = {c.text}".encode()),
    "unreferenced-bytes": lambda c: Svs(unreferenced=c.text.encode()),
    "305-Software": lambda c: Svs(base={305: ascii_(c.text)}),
    "700-XMP": lambda c: Svs(base={700: (BYTE, xmp_text.packet(c.text))}),
    "34675-ICC": lambda c: Svs(base={34675: (UNDEFINED, icc_bytes.profile(description=c.text))}),
    "65000": lambda c: Svs(base={65000: ascii_(c.text)}),
}


_HAMAMATSU: Entries = {
    271: ascii_("Hamamatsu"),
    272: ascii_("NanoZoomer"),
    282: rational(22123, 1),
    283: rational(22123, 1),
    296: short(3),
    65420: long(1),
    65421: (11, b"\0\0\xa0\x41"),
    **{tag: (9, bytes(4)) for tag in (65422, 65423, 65424)},
}
"""Make, model, dots per centimetre; then the flag, the lens (20) and the place of the field on the slide."""


def _ndpi(tag: int, template: str = "{}") -> Make:
    """One directory with one JPEG strip and Hamamatsu's own tags."""

    def make(canary: Canary) -> bytes:
        tiff = Tiff()
        words = {tag: ascii_(template.format(canary.text))}
        return tiff.chain([_strip_jpeg(tiff, swatch(canary.token), {**_HAMAMATSU, **words})])

    return make


def _ndpi_comment(canary: Canary) -> bytes:
    tiff = Tiff()
    return tiff.chain([_strip_jpeg(tiff, swatch(canary.token), _HAMAMATSU, _comment(canary))])


_NDPI: Mapping[str, Make] = {
    "65427-reference": _ndpi(65427),
    "65442-serial": _ndpi(65442),
    "65449-properties": _ndpi(65449, "Product=C9600\r\nSlide.Barcode={}\r\nNDP.S/N=1\r\n"),
    "65480-scan-profile": _ndpi(65480, "<ScanProfile><Operator>{}</Operator></ScanProfile>"),
    "65433-unknown": _ndpi(65433),
    "jpeg-COM": _ndpi_comment,
}
_ATTRIBUTE = (
    '<?xml version="1.0" encoding="UTF-8"?><DataObject ObjectType="DPUfsImport">'
    '<Attribute Name="{}" Group="0x301D" Element="0x1002" PMSVR="IString">{}</Attribute></DataObject>'
)


def _philips(name: str, value: Callable[[Canary], str]) -> Make:
    def make(canary: Canary) -> bytes:
        tiff, xml = Tiff(), _ATTRIBUTE.format(name, value(canary))
        words = {270: ascii_(xml), 305: ascii_("Philips DP v1.0")}
        return tiff.chain([_tiled(tiff, swatch(canary.token), words, None)])

    return make


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


_PHILIPS: Mapping[str, Make] = {
    "barcode-base64": _philips("PIM_DP_UFS_BARCODE", lambda c: _encoded(c.text.encode())),
    "operator": _philips("DICOM_OPERATORS_NAME", lambda c: c.text),
    "label-image-base64": _philips("PIM_DP_IMAGE_DATA", lambda c: _encoded(_comment(c)(coded(swatch("label"))))),
}


def places() -> list[Place]:
    """Aperio, Hamamatsu, Philips."""
    return [
        *(_svs_place(name, make) for name, make in _SVS.items()),
        *(in_file(f"ndpi/{name}", "slide", "slide.ndpi", make) for name, make in _NDPI.items()),
        *(in_file(f"philips/{name}", "slide", "slide.tiff", make) for name, make in _PHILIPS.items()),
    ]


def _svs_place(name: str, make: Callable[[Canary], Svs]) -> Place:
    return in_file(f"svs/{name}", "slide", "slide.svs", lambda canary: make(canary).file(canary))
