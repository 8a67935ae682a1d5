"""HEIC, the pictures of phones, decoded in a process of its own: a hostile one kills the decoder, and not us.

`pi_heif` ends its process (SIGSEGV) at many damaged files, and no option of its helps.  So this file is also a program:
the child, which answers one picture after the other until its standard input ends.  What it says is not trusted, since
whoever takes over the decoder speaks for it.
"""

from __future__ import annotations

import atexit
import errno
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SECONDS = 60
"""For one picture, and for the child to start; 200 megapixels take about ten."""
MEMORY = 8 << 30
"""Bytes of address space of the child."""

_GRACE = 5
"""Seconds more until we end a child that its own alarm did not end."""
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
"""As pi_heif's own plugin for Pillow accepts them."""
_CHANNELS = {b"L": 1, b"LA": 2, b"La": 2, b"RGB": 3, b"RGBA": 4, b"RGBa": 4, b"I;16": 2}
"""Mode -> bytes a pixel."""

_REQUEST = struct.Struct(">?QQ")
"""Whether pixels are wanted, most pixels, bytes of the file that follows."""
_REPLY = struct.Struct(">6sIIIQ")
"""Mode (or a refusal), width, height, number of pictures, bytes of pixels that follow."""
_UNKNOWN, _DAMAGED = b"none", b"broken"
_READY = b"!"


class Undecodable(Exception):  # noqa: N818 (says what it is)
    """The decoder refuses the picture."""


class DecoderLost(Exception):  # noqa: N818 (says what it is)
    """The decoder died of the picture, took too long or answered nonsense."""


class HeifHeader(Image.Image):
    """As much of an image as its header tells: it has a size and no pixels."""

    format = "HEIF"

    def __init__(self, size: tuple[int, int], frames: int) -> None:
        super().__init__()
        self._size = size
        self.n_frames = frames


def claims(source: Path | bytes) -> bool:
    """Whether a file says that it is HEIC or HEIF.  Raises ``OSError``."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as handle:
            head = handle.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def opened(content: bytes, max_pixels: int, *, pixels: bool) -> Image.Image:
    """The header, or the decoded image where ``pixels`` are wanted and it is one picture within ``max_pixels``.

    Pixels come turned as the file asks, without metadata.  Raises ``UnidentifiedImageError``, ``Undecodable``,
    ``DecoderLost``, and ``OSError`` where no decoder can be started.
    """
    answer, size, frames, data = _DECODER.ask(content, max_pixels, pixels)
    if answer == _UNKNOWN:
        raise UnidentifiedImageError
    if answer == _DAMAGED:
        raise Undecodable
    if not data:
        return HeifHeader(size, frames)
    image = Image.frombytes(answer.decode(), size, data)
    image.format = HeifHeader.format
    return image


class _Decoder:
    """The child, started when it is first asked and anew after whatever went wrong."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, content: bytes, max_pixels: int, pixels: bool) -> tuple[bytes, tuple[int, int], int, bytearray]:
        """Mode or refusal, (width, height), number of pictures, pixels.  Raises ``DecoderLost``, ``OSError``."""
        with self._lock:
            try:
                if self._process is None or self._process.poll() is not None:
                    self.end()
                    self._start()
                return self._exchange(_REQUEST.pack(pixels, max_pixels, len(content)), content)
            except BaseException:  # after an interrupt, the rest of this answer would be taken for the next one
                self.end()
                raise

    def _start(self) -> None:
        # A session of its own: Ctrl-C is ours to handle.  What a library says could repeat what the file holds.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        requests, replies = self._pipes()
        os.set_blocking(requests, False)
        try:
            _read(replies, len(_READY), time.monotonic() + SECONDS + _GRACE)
        except (EOFError, TimeoutError):  # no fault of the picture
            raise ChildProcessError(errno.ECHILD, "the decoder of HEIC does not start") from None

    def _exchange(self, head: bytes, content: bytes) -> tuple[bytes, tuple[int, int], int, bytearray]:
        deadline = time.monotonic() + SECONDS + _GRACE
        requests, replies = self._pipes()
        try:
            _write(requests, head, deadline)
            _write(requests, content, deadline)
            padded, width, height, frames, length = _REPLY.unpack(_read(replies, _REPLY.size, deadline))
            answer = padded.rstrip(b"\0")
            if length != _length(answer, width, height, frames, *_REQUEST.unpack(head)[:2]):
                raise DecoderLost
            return answer, (width, height), frames, _read(replies, length, deadline)
        except (OSError, EOFError):
            raise DecoderLost from None

    def _pipes(self) -> tuple[int, int]:
        assert self._process and self._process.stdin and self._process.stdout
        return self._process.stdin.fileno(), self._process.stdout.fileno()

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes the pipes and waits
                self._process = None

    def after_fork(self) -> None:
        """The child is our parent's, and while we hold its pipes it would not see that our parent is gone."""
        self._lock = threading.Lock()
        if self._process is not None:
            for pipe in self._pipes():
                os.close(pipe)
            self._process = None


_DECODER = _Decoder()
atexit.register(_DECODER.end)
os.register_at_fork(after_in_child=_DECODER.after_fork)


def _length(answer: bytes, width: int, height: int, frames: int, pixels: bool, max_pixels: int) -> int:
    """Bytes of pixels that such an answer must bring.  Raises ``DecoderLost`` if it makes no sense."""
    if answer in (_UNKNOWN, _DAMAGED):
        return 0
    if answer not in _CHANNELS or 0 in (width, height, frames):
        raise DecoderLost
    return width * height * _CHANNELS[answer] if pixels and frames == 1 and width * height <= max_pixels else 0


def _read(pipe: int, length: int, deadline: float | None = None) -> bytearray:
    """Exactly so many bytes.  Raises ``EOFError``, ``TimeoutError``."""
    content = bytearray(length)
    left = memoryview(content)
    while left:
        _wait(pipe, select.POLLIN, deadline)
        if not (count := os.readv(pipe, [left])):
            raise EOFError
        left = left[count:]
    return content


def _write(pipe: int, content: bytes | memoryview, deadline: float | None = None) -> None:
    """All of it.  Raises ``OSError``."""
    left = memoryview(content)
    while left:
        _wait(pipe, select.POLLOUT, deadline)
        left = left[os.write(pipe, left) :]


def _wait(pipe: int, event: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def main() -> None:
    """The child.  Its alarm ends what hangs in C code, also when our parent is gone."""
    seconds = int(sys.argv[1])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    import pi_heif

    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    pi_heif.options.DECODE_THREADS = 1  # our pools have a process for each core already
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    _limit_resources()
    _write(replies, _READY)
    while True:
        signal.alarm(0)
        try:
            request = _read(0, _REQUEST.size)
        except EOFError:
            return
        signal.alarm(seconds)
        _answer(replies, *_REQUEST.unpack(request))


def _limit_resources() -> None:
    import resource

    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        least = min([most, *(given for given in resource.getrlimit(kind) if given != resource.RLIM_INFINITY)])
        resource.setrlimit(kind, (least, least))


def _answer(replies: int, pixels: bool, max_pixels: int, length: int) -> None:
    import pi_heif

    content = bytes(_read(0, length))
    refusal = _UNKNOWN
    try:
        file = pi_heif.open_heif(content, convert_hdr_to_8bit=True)
        image = file[file.primary_index]
        refusal, data = _DAMAGED, b""
        if pixels and len(file) == 1 and image.size[0] * image.size[1] <= max_pixels:
            data = image.data  # may change the size
            data = data if image.size[0] * image.size[1] <= max_pixels else b""
        head = _REPLY.pack(image.mode.encode(), *image.size, len(file), len(data))
    except Exception as error:  # a broken file can make a decoder raise anything
        _write(replies, _REPLY.pack(_DAMAGED if isinstance(error, MemoryError) else refusal, 0, 0, 0, 0))
        return
    _write(replies, head)
    _write(replies, data)


if __name__ == "__main__":
    main()
