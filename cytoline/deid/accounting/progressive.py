"""Walks progressive JPEG scans: like ``entropy``, but coefficients come bit by bit over several scans.

A refining scan can only be read with the knowledge of which coefficients came before, so that is kept as one 64-bit
mask per block.  Not proven: where runs of empty blocks are split (an encoder's choice that changes no pixel).
Source: ITU-T T.81 G.1.2, G.2.
"""

from __future__ import annotations

from array import array

import numpy as np

from cytoline.deid.accounting.entropy import CHUNK, check_end, padded, windows
from cytoline.deid.accounting.jpeg_frame import Band, Component, Frame
from cytoline.deid.accounting.jpeg_tables import AC, DC, Huffman, Tables
from cytoline.deid.accounting.source import DamagedError, SurplusError

MAX_BLOCKS = 1 << 22
"""Of all components together, some 90 megapixels in colour; beyond that ``DamagedError``."""
MAX_SCANS = 64


class _Bits:
    """The coded bytes, a chunk at a time."""

    def __init__(self, data: bytes, codes: dict[int, Huffman]) -> None:
        self._data, self._codes = data, codes
        self.start = self.at = 0
        self._load()

    def _load(self) -> None:
        seen = windows(padded(self._data, self.start))
        self.bits = array("H", seen.tobytes())
        self.symbols = {slot: array("H", code.codes[seen].tobytes()) for slot, code in self._codes.items()}

    def settle(self) -> None:
        """Between blocks: move on to where there is slack again."""
        if self.at >= CHUNK * 8:
            self.start, self.at = self.start + (self.at >> 3), self.at & 7
            if self.start > len(self._data):
                raise DamagedError
            self._load()

    def jump(self, end: int) -> None:
        """A stretch ends before byte ``end``; go there."""
        check_end(self._data, self.start * 8 + self.at, end)
        self.at = (end - self.start) * 8

    def symbol(self, slot: int) -> int:
        """Read one Huffman code."""
        code = self.symbols[slot][self.at]
        if not code:
            raise DamagedError
        self._codes[slot].symbols.add(code >> 8)
        self.at += code & 0xFF
        return code >> 8

    def number(self, size: int) -> int:
        """``size`` bits, up to 15."""
        value = self.bits[self.at] >> (16 - size)
        self.at += size
        return value


class Progressive:
    """What the scans of one picture have coded so far."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._scans = 0
        self._lows: dict[int, list[int]] = {item.ident: [-1] * 64 for item in frame.components}
        """Per component and coefficient the lowest bit that was coded; -1 if none."""
        self._masks: dict[int, array[int]] = {}
        self._strides: dict[int, int] = {}
        units = frame.interleaved()
        for item in frame.components:
            self._strides[item.ident] = units[0] * item.across
        blocks = sum(units[0] * item.across * units[1] * item.down for item in frame.components)
        if blocks > MAX_BLOCKS:
            raise DamagedError
        self._down = units[1]

    def walk(
        self,
        data: bytes,
        stretches: list[tuple[int, int]],
        chosen: list[Component],
        slots: bytes,
        band: Band,
        tables: Tables,
    ) -> None:
        """Walk one scan.  Raises ``DamagedError``, or ``SurplusError`` if it holds more than its blocks need."""
        self._scans += 1
        if self._scans > MAX_SCANS:
            raise DamagedError
        self._advance(chosen, band)
        if band.first:
            bits = _Bits(data, {0: tables.code(AC, slots[0] & 15)})
            self._walk_band(bits, stretches, chosen[0], band)
        elif band.high == 0:
            bits = _Bits(data, {slot >> 4: tables.code(DC, slot >> 4) for slot in slots})
            self._walk_averages(bits, stretches, chosen, slots)
        else:
            each = sum(item.across * item.down for item in chosen) if len(chosen) > 1 else 1
            at = 0
            for end, units in stretches:
                check_end(data, at * 8 + units * each, end)
                at = end

    def note(self, tables: Tables) -> None:
        """Tell the quantisers which coefficients were there."""
        for item in self._frame.components:
            masks = np.frombuffer(self._masks.get(item.ident, array("Q")), np.uint64)
            mask = int(np.bitwise_or.reduce(masks)) if len(masks) else 0
            tables.quantiser(item.quantiser).coded.update(k for k in range(64) if mask >> k & 1 or k == 0)

    def _advance(self, chosen: list[Component], band: Band) -> None:
        """The order of scans: averages first and apart, then each bit once (G.1.1.1.1)."""
        averages = band.first == band.last == 0
        if not averages and (not 1 <= band.first <= band.last <= 63 or len(chosen) != 1):
            raise DamagedError
        if band.low > 13 or (band.high and band.low != band.high - 1):
            raise DamagedError
        for item in chosen:
            lows = self._lows[item.ident]
            if any(lows[k] != (band.high or -1) for k in range(band.first, band.last + 1)):
                raise DamagedError
            if not averages and lows[0] < 0:
                raise DamagedError
            lows[band.first : band.last + 1] = [band.low] * (band.last + 1 - band.first)

    def _walk_averages(
        self, bits: _Bits, stretches: list[tuple[int, int]], chosen: list[Component], slots: bytes
    ) -> None:
        """First scan of the averages: a size and so many bits for each block."""
        order = [
            slot >> 4
            for item, slot in zip(chosen, slots, strict=True)
            for _ in range(item.across * item.down if len(chosen) > 1 else 1)
        ]
        if sum(units for _, units in stretches) > 8 * stretches[-1][0]:
            raise DamagedError  # each block takes a bit at least: cut short
        for item in chosen:
            self._masks[item.ident] = array("Q", bytes(8 * self._strides[item.ident] * self._down * item.down))
        most = self._frame.precision + 3
        for end, units in stretches:
            for _ in range(units):
                bits.settle()
                for slot in order:
                    size = bits.symbol(slot)
                    if size > most:
                        raise DamagedError
                    bits.at += size
            bits.jump(end)

    def _walk_band(self, bits: _Bits, stretches: list[tuple[int, int]], item: Component, band: Band) -> None:
        masks, stride = self._masks[item.ident], self._strides[item.ident]
        across = self._frame.units([item])[0]
        block = 0
        walk = self._refine if band.high else self._start
        for end, units in stretches:
            run = 0
            for _ in range(units):
                at = block // across * stride + block % across
                block += 1
                if run and not band.high:
                    run -= 1
                    continue
                bits.settle()
                masks[at], run = walk(bits, band, masks[at], run)
            if run:
                raise DamagedError
            bits.jump(end)

    def _start(self, bits: _Bits, band: Band, mask: int, run: int) -> tuple[int, int]:
        """One block's coefficients for the first time; the mask, and how many empty blocks follow."""
        k = band.first
        while k <= band.last:
            ahead, size = divmod(bits.symbol(0), 16)
            if size:
                k += ahead
                if k > band.last or size > self._frame.precision + 2:
                    raise DamagedError
                mask |= 1 << k
                bits.at += size
                k += 1
            elif ahead == 15:
                k += 16
                self._refuse_empty_end(bits, k > band.last)
            else:
                return mask, (1 << ahead) + bits.number(ahead) - 1
        return mask, 0

    def _refine(self, bits: _Bits, band: Band, mask: int, run: int) -> tuple[int, int]:
        """One more bit for each coefficient known, and new ones of that size; the mask, and empty blocks to follow."""
        k, new = band.first, 0
        while k <= band.last and not run:
            ahead, size = divmod(bits.symbol(0), 16)
            if size > 1:
                raise DamagedError
            if not size and ahead != 15:
                run = (1 << ahead) + bits.number(ahead)
                break
            bits.at += size
            while k <= band.last and (mask >> k & 1 or ahead):
                if mask >> k & 1:
                    bits.at += 1
                else:
                    ahead -= 1
                k += 1
            if size:
                if k > band.last:
                    raise DamagedError
                new |= 1 << k
            k += 1
            if not size:
                self._refuse_empty_end(bits, k > band.last)
        if run:
            rest = mask >> k & ((1 << max(band.last + 1 - k, 0)) - 1)
            bits.at += rest.bit_count()
            run -= 1
        return mask | new, run

    @staticmethod
    def _refuse_empty_end(bits: _Bits, ended: bool) -> None:
        """Zeros spelled out although nothing follows them: a choice that can spell something."""
        following = bits.symbols[0][bits.at] >> 8
        if ended or (following & 15 == 0 and following != 0xF0):
            raise SurplusError
