"""The check of a PNG that we wrote: header, pixels, end, and not a byte more."""

from __future__ import annotations

import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def verify(content: bytes) -> str | None:
    """Account for every byte; None if all is well, else what is wrong."""
    if content[:8] != SIGNATURE:
        return "no signature"
    at, names, packed = 8, [], bytearray()
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if content[at + 8 + size : at + 12 + size] != zlib.crc32(name + body).to_bytes(4, "big"):
            return "a chunk's checksum"
        names.append(name)
        if name == b"IDAT":
            packed += body
        at += 12 + size
    if at != len(content):
        return "bytes after the end"
    if names != [b"IHDR", *[b"IDAT"] * (len(names) - 2), b"IEND"] or len(names) < 3:
        return "a chunk that is not on the list"
    return _verify_pixels(content[16:29], bytes(packed))


def _verify_pixels(header: bytes, packed: bytes) -> str | None:
    """The zlib stream must hold exactly the pixels that the header promises, and nothing behind them."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    if header[8:] != bytes((8, 2, 0, 0, 0)):
        return "not 8-bit RGB"
    expected = height * (1 + 3 * width)
    inflater = zlib.decompressobj()
    try:
        pixels = inflater.decompress(packed, expected + 1)
    except zlib.error:
        return "the pixel stream"
    if len(pixels) != expected or not inflater.eof or inflater.unused_data:
        return "surplus bytes in the pixel stream"
    return None
