"""How one page's tiles are read and written: the tags that fix it, held to a closed list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cytoline.deid import jpeg
from cytoline.deid.slide import jpeg_2000_tile, jpeg_tile, lossless_tile
from cytoline.deid.slide.jpeg_tile import JpegTile, Samples
from cytoline.deid.slide.lossless_tile import DEFLATE, LZW, NONE
from cytoline.deid.slide.refusal import CannotRecreate
from cytoline.deid.slide.tiff_read import Page
from cytoline.images import RGB

JPEG, OLD_JPEG, ADOBE_DEFLATE, OLD_DEFLATE = 7, 6, 8, 32946
JPEG_2000: dict[int, jpeg_2000_tile.Space] = {33003: "YCbCr", 33005: "RGB"}
"""Aperio's; read as RGB, written as deflate."""
WHITE_IS_ZERO, BLACK_IS_ZERO, IN_RGB, IN_YCBCR = 0, 1, 2, 6
_FIXED = {266: 1, 274: 1, 284: 1, 32997: 1, 32998: 1}
"""Bit order, orientation, planes together, depth of image and tile: each only as this."""
_MAX_TABLES = 65536


@dataclass(frozen=True)
class Tile:
    """One tile, read."""

    samples: Samples
    plain: bytes | None
    """Its own bitstream, bare; None where something might hide in it, so that it must be coded anew."""
    source: JpegTile | None = None


@dataclass(frozen=True)
class Coding:
    """Of all tiles of a page."""

    compression: int
    """As in the source (deflate by its present number)."""
    photometric: int
    samples: int
    predictor: int
    width: int
    height: int
    tables: bytes = b""
    sampling: tuple[int, int] = (1, 1)

    @property
    def written_compression(self) -> int:
        return self.compression if self.compression in (NONE, JPEG) else DEFLATE

    @property
    def block(self) -> int:
        """Pixels that are coded together, each way; 0 where each stands for itself."""
        return 8 * max(self.sampling) if self.compression == JPEG else 0

    @property
    def raw_size(self) -> int:
        return self.width * self.height * self.samples

    def decode(self, raw: bytes) -> Samples:
        """The samples alone.  Raises ``CannotRecreate`` ("damaged", "jpeg_sampling", "compression")."""
        if self.compression == JPEG:
            source = self._bare_jpeg(raw)
            try:
                return jpeg_tile.stored_samples(source.plain)
            except jpeg.OddJpegError:
                raise CannotRecreate("compression") from None
        return self._decoded(raw)[0]

    def read(self, raw: bytes) -> Tile:
        """The samples, and the bitstream if it holds nothing else.  Raises as ``decode``."""
        if self.compression != JPEG:
            return Tile(*self._decoded(raw))
        source = self._bare_jpeg(raw)
        try:
            samples, needed = jpeg_tile.read(source)
        except jpeg.OddJpegError:
            raise CannotRecreate("compression") from None
        return Tile(samples, source.plain if needed else None, source)

    def encode(self, samples: Samples, tile: Tile) -> bytes:
        """Code changed samples of ``tile`` as its page is coded."""
        if tile.source is not None:
            try:
                return jpeg_tile.encode(samples, tile.source)
            except jpeg.OddJpegError:
                raise CannotRecreate("damaged") from None
        content = (lossless_tile.apply_predictor(samples) if self.predictor == 2 else samples).tobytes()
        return content if self.compression == NONE else lossless_tile.deflate(content)

    def to_rgb(self, samples: Samples) -> RGB:
        """What a viewer shows."""
        if self.samples == 1:
            grey = 255 - samples if self.photometric == WHITE_IS_ZERO else samples
            return np.repeat(grey, 3, axis=2)
        if self.photometric == IN_YCBCR:
            return _converted(samples, "YCbCr", "RGB")
        return samples

    def from_rgb(self, rgb: RGB) -> Samples:
        """The inverse of ``to_rgb`` (grey: the mean)."""
        if self.samples == 1:
            grey: Samples = rgb.mean(axis=2, keepdims=True).round().astype(np.uint8)
            return np.asarray(255 - grey, np.uint8) if self.photometric == WHITE_IS_ZERO else grey
        return _converted(rgb, "RGB", "YCbCr") if self.photometric == IN_YCBCR else rgb

    def _decoded(self, raw: bytes) -> tuple[Samples, bytes | None]:
        """Of a tile without loss."""
        plain: bytes | None = None
        if self.compression == NONE:
            content = plain = raw[: self.raw_size]
        elif self.compression == DEFLATE:
            content, exact = lossless_tile.inflate(raw, self.raw_size)
            plain = raw if exact else None
        elif self.compression in JPEG_2000:
            content = jpeg_2000_tile.decode(raw, JPEG_2000[self.compression], (self.width, self.height)).tobytes()
        else:
            content = lossless_tile.unpack_lzw(raw, self.width, self.height, self.samples)
        if len(content) != self.raw_size:
            raise CannotRecreate("damaged")
        samples = np.frombuffer(content, np.uint8).reshape(self.height, self.width, self.samples)
        return (lossless_tile.undo_predictor(samples) if self.predictor == 2 else samples), plain

    def _bare_jpeg(self, raw: bytes) -> JpegTile:
        """A tile's parts, its size checked before it is decoded."""
        try:
            source = jpeg_tile.bare(raw, self.tables)
        except jpeg.OddJpegError:
            raise CannotRecreate("compression") from None
        if (source.width, source.height, source.components) != (self.width, self.height, self.samples):
            raise CannotRecreate("damaged")
        if source.components == 3 and source.sampling != self.sampling:
            raise CannotRecreate("jpeg_sampling")
        return source


def coding_of(page: Page, first_tile: bytes) -> Coding:
    """Read a page's tags.  Raises ``CannotRecreate`` for what is not on the list."""
    compression = page.integer(259, NONE)
    if compression == OLD_JPEG:
        raise CannotRecreate("old_jpeg")
    if compression not in (NONE, LZW, ADOBE_DEFLATE, OLD_DEFLATE, JPEG, *JPEG_2000):
        raise CannotRecreate("compression")
    compression = DEFLATE if compression == OLD_DEFLATE else compression
    samples, photometric = page.integer(277, 1), page.integer(262)
    if compression in JPEG_2000:
        photometric = IN_RGB if samples == 3 and photometric in (IN_RGB, IN_YCBCR) else -1
    _check_samples(page, samples, photometric, compression)
    predictor = page.integer(317, 1) if compression in (LZW, DEFLATE) else 1
    if predictor not in (1, 2):
        raise CannotRecreate("compression")
    width, height = page.integer(322), page.integer(323)
    if compression != JPEG:
        return Coding(compression, photometric, samples, predictor, width, height)
    tables = jpeg_tile.shared_tables(page.raw(347, _MAX_TABLES + 1))
    try:
        sampling = jpeg_tile.bare(first_tile, tables).sampling if samples == 3 else (1, 1)
    except jpeg.OddJpegError:
        raise CannotRecreate("compression") from None
    if sampling not in jpeg_tile.PILLOW_SAMPLING or (photometric == IN_RGB and sampling != (1, 1)):
        raise CannotRecreate("jpeg_sampling")
    return Coding(compression, photometric, samples, 1, width, height, tables, sampling)


def _check_samples(page: Page, samples: int, photometric: int, compression: int) -> None:
    colour = {3: {IN_RGB} | ({IN_YCBCR} if compression == JPEG else set()), 1: {BLACK_IS_ZERO, WHITE_IS_ZERO}}
    bits, formats = page.integers(258, 8).tolist(), page.integers(339, 8).tolist()
    if photometric not in colour.get(samples, set()) or bits != [8] * samples or 338 in page:
        raise CannotRecreate("samples")
    if set(formats) - {1} or any(page.integer(tag, value) != value for tag, value in _FIXED.items()):
        raise CannotRecreate("samples")


def _converted(samples: Samples, before: str, after: str) -> RGB:
    height, width = samples.shape[:2]
    image = Image.frombytes(before, (width, height), np.ascontiguousarray(samples).tobytes())
    return np.asarray(image.convert(after), dtype=np.uint8)
