"""Hiding places in a TIFF: tags, sub-directories, further pages, gaps, strips (TIFF 6.0 and its supplements)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from benchmarks.deid import icc_bytes, xmp_text
from benchmarks.deid.canary import Canary
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import after_jfif, coded, iptc, resource, segment
from benchmarks.deid.place import Make, Place, in_file
from benchmarks.deid.tiff_bytes import BYTE, UNDEFINED, Tiff, Value, ascii_, long, short

WORDS = {
    269: "DocumentName",
    270: "ImageDescription",
    271: "Make",
    272: "Model",
    285: "PageName",
    305: "Software",
    315: "Artist",
    316: "HostComputer",
    333: "InkNames",
    337: "TargetPrinter",
    32781: "ImageID",
    33432: "Copyright",
    42016: "ImageUniqueID",
    42032: "OwnerName",
    42033: "BodySerial",
    42035: "LensMake",
    42036: "LensModel",
    42037: "LensSerial",
    42112: "GDAL-metadata",
    42113: "GDAL-nodata",
    50708: "UniqueCameraModel",
    50735: "CameraSerial",
    50827: "RawFileName",
    65000: "private-65000",
    65535: "private-65535",
}
WINDOWS = {40091: "XPTitle", 40092: "XPComment", 40093: "XPAuthor", 40094: "XPKeywords", 40095: "XPSubject"}
BLOCKS: dict[str, tuple[int, Callable[[Canary], Value]]] = {
    "XMP": (700, lambda c: (BYTE, xmp_text.packet(c.text))),
    "Wang-annotation": (32932, lambda c: (BYTE, c.text.encode())),
    "IPTC": (33723, lambda c: (UNDEFINED, iptc(2, 80, c.text.encode()))),
    "Photoshop": (34377, lambda c: (BYTE, resource(0x0404, iptc(2, 120, c.text.encode())))),
    "ICC": (34675, lambda c: (UNDEFINED, icc_bytes.profile(copyright_=c.text))),
    "MakerNote": (37500, lambda c: (UNDEFINED, c.text.encode())),
    "UserComment": (37510, lambda c: (UNDEFINED, b"ASCII\0\0\0" + c.text.encode())),
    "ImageSourceData": (37724, lambda c: (UNDEFINED, b"Adobe Photoshop Document Data Block\0" + c.text.encode())),
    "PrintIM": (50341, lambda c: (UNDEFINED, b"PrintIM\x000300\0\0" + c.text.encode())),
    "private-undefined": (65001, lambda c: (UNDEFINED, c.text.encode("utf-16-le"))),
    "private-longs": (65002, lambda c: long(*struct.unpack("<20I", c.text.encode().ljust(80)[:80]))),
    "text-after-NUL": (270, lambda c: ascii_("clean\0" + c.text)),
    "OME-XML": (270, lambda c: ascii_(_OME.format(c.text))),
}
_OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" '
    'Name="{}"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="320" SizeY="240" SizeC="3" SizeZ="1" '
    'SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
)


def places() -> list[Place]:
    """Tags by number and name, then structures by name."""
    made: list[Place] = [_place(f"{tag}-{name}", _one_page(tag, _words)) for tag, name in WORDS.items()]
    made += [_place(f"{tag}-{name}", _one_page(tag, _wide)) for tag, name in WINDOWS.items()]
    made += [_place(f"{tag}-{name}", _one_page(tag, value)) for name, (tag, value) in BLOCKS.items()]
    made += [in_file("tiff/306-DateTime", "tiff", "image.tif", _one_page(306, _moment), "moment")]
    made += [_place(name, make) for name, make in {**_DIRECTORIES, **_BYTES, **_CODED}.items()]
    return made


def _place(name: str, make: Make) -> Place:
    return in_file(f"tiff/{name}", "tiff", "image.tif", make)


def _words(canary: Canary) -> Value:
    return ascii_(canary.text)


def _wide(canary: Canary) -> Value:
    return (BYTE, canary.text.encode("utf-16-le") + b"\0\0")


def _moment(canary: Canary) -> Value:
    return ascii_(canary.moment)


def _one_page(tag: int, value: Callable[[Canary], Value], big: bool = False) -> Make:
    def make(canary: Canary) -> bytes:
        tiff = Tiff(big)
        return tiff.chain([tiff.page(swatch(canary.token), {tag: value(canary)})])

    return make


def _sub_directory(pointer: int, tag: int, value: Callable[[Canary], Value]) -> Make:
    def make(canary: Canary) -> bytes:
        tiff = Tiff()
        inner = tiff.directory({tag: value(canary)})
        return tiff.chain([tiff.page(swatch(canary.token), {pointer: long(inner)})])

    return make


def _sub_image(canary: Canary) -> bytes:
    tiff = Tiff()
    inner = tiff.page(swatch("sub"), {254: long(1), 270: ascii_(canary.text)})
    return tiff.chain([tiff.page(swatch(canary.token), {330: long(inner)})])


def _second_page(canary: Canary) -> bytes:
    tiff = Tiff()
    first = tiff.page(swatch(canary.token))
    return tiff.chain([first, tiff.page(swatch("second"), {270: ascii_(canary.text)})])


def _second_page_pixels(canary: Canary) -> bytes:
    tiff = Tiff()
    small = swatch("second")[:40].copy()
    letters = canary.text.encode()
    small.reshape(-1)[: len(letters)] = list(letters)
    return tiff.chain([tiff.page(swatch(canary.token)), tiff.page(small)])


def _unlinked(canary: Canary) -> bytes:
    tiff = Tiff()
    tiff.page(swatch("unlinked")[:40].copy(), {270: ascii_(canary.text)})
    return tiff.chain([tiff.page(swatch(canary.token))])


_DIRECTORIES: dict[str, Make] = {
    "34665-exif-comment": _sub_directory(34665, 37510, lambda c: (UNDEFINED, b"ASCII\0\0\0" + c.text.encode())),
    "34665-exif-lens-serial": _sub_directory(34665, 42037, _words),
    "34853-gps-area": _sub_directory(34853, 28, lambda c: (UNDEFINED, b"ASCII\0\0\0" + c.text.encode())),
    "330-subifd-270": _sub_image,
    "page1-270": _second_page,
    "page1-pixels": _second_page_pixels,
    "unlinked-directory": _unlinked,
    "bigtiff-270": _one_page(270, _words, big=True),
}


def _gap(canary: Canary) -> bytes:
    tiff = Tiff()
    tiff.put(canary.text.encode())
    return tiff.chain([tiff.page(swatch(canary.token))])


def _strip_surplus(canary: Canary) -> bytes:
    tiff = Tiff()
    return tiff.chain([tiff.page(swatch(canary.token), surplus=canary.text.encode())])


def _trailer(canary: Canary) -> bytes:
    tiff = Tiff()
    return tiff.chain([tiff.page(swatch(canary.token))]) + canary.text.encode()


_BYTES: dict[str, Make] = {"gap": _gap, "strip-surplus": _strip_surplus, "trailer": _trailer}


def _deflated(stream: Callable[[bytes, bytes], bytes]) -> Make:
    """A strip compressed with deflate; ``stream`` gives its bytes from the pixels and the text."""

    def make(canary: Canary) -> bytes:
        tiff, rgb = Tiff(), swatch(canary.token)
        data = stream(rgb.tobytes(), canary.text.encode())
        return tiff.chain([tiff.page(rgb, {259: short(8), 273: long(tiff.put(data)), 279: long(len(data))})])

    return make


def _jpeg_strip(change: Callable[[bytes, Canary], bytes]) -> Make:
    def make(canary: Canary) -> bytes:
        tiff, rgb = Tiff(), swatch(canary.token)
        data = change(coded(rgb), canary)
        strip = {259: short(7), 262: short(6), 530: short(2, 2), 273: long(tiff.put(data)), 279: long(len(data))}
        return tiff.chain([tiff.page(rgb, strip)])

    return make


_CODED: dict[str, Make] = {
    "deflate-rows-too-many": _deflated(lambda pixels, text: zlib.compress(pixels + text)),
    "deflate-after-stream": _deflated(lambda pixels, text: zlib.compress(pixels) + text),
    "jpeg-strip-COM": _jpeg_strip(lambda jpeg, c: after_jfif(jpeg, segment(0xFE, c.text.encode()))),
    "jpeg-strip-after-EOI": _jpeg_strip(lambda jpeg, c: jpeg + c.text.encode()),
}
