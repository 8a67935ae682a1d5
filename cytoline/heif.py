"""HEIC, the pictures of phones, decoded in a process of its own: a hostile one kills the decoder, and not us.

`pi_heif` ends its process (SIGSEGV) at many damaged files, and no option of its helps.  So this file is also a program:
the child, which answers one picture after the other until its standard input ends.  What it says is not trusted, since
whoever takes over the decoder speaks for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from io import BufferedWriter
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SECONDS = 60.0
"""CPU time of the child for one picture: what a busy machine does to it is no fault of the picture's."""
CLOCK = 600.0
"""Seconds on the clock, for what waits without working."""
MAX_BYTES = 256 << 20
"""Of a file: it is sent to the child as a whole."""
MEMORY = 8 << 30
"""Bytes of address space of the child; 200 megapixels of a phone take one eighth."""

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
        self._child: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._lock = threading.Lock()

    def ask(self, content: bytes, max_pixels: int, pixels: bool) -> tuple[bytes, tuple[int, int], int, bytearray]:
        """Mode or refusal, (width, height), number of pictures, pixels.  Raises ``DecoderLost``, ``OSError``."""
        with self._lock:
            try:
                if self._child is None or self._child[0].poll() is not None:
                    self.end()
                    self._start()
                return self._exchange(content, max_pixels, pixels)
            except BaseException:  # after an interrupt, the rest of this answer would be taken for the next one
                self.end()
                raise

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is ours to handle.  What a library says could repeat what the file holds.
            process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(SECONDS)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._child = process, ours
        try:
            _received(ours, len(_READY), time.monotonic() + CLOCK)
        except (EOFError, OSError):  # no fault of the picture
            from cytoline.errors import CytolineError  # which the child does not need

            cause, remedy = "the decoder of HEIC does not start", "remove .venv, then `make setup` installs it anew"
            raise CytolineError(cause, remedy) from None

    def _exchange(self, content: bytes, most: int, pixels: bool) -> tuple[bytes, tuple[int, int], int, bytearray]:
        assert self._child is not None
        _, link = self._child
        deadline = time.monotonic() + CLOCK
        try:
            link.settimeout(CLOCK)
            link.sendall(_REQUEST.pack(pixels, most, len(content)))
            link.sendall(content)
            padded, width, height, frames, length = _REPLY.unpack(_received(link, _REPLY.size, deadline))
            answer, due = padded.rstrip(b"\0"), 0
            if answer not in (_UNKNOWN, _DAMAGED):
                if answer not in _CHANNELS or 0 in (width, height, frames):
                    raise DecoderLost
                if pixels and frames == 1 and width * height <= most:
                    due = width * height * _CHANNELS[answer]
            if length != due:
                raise DecoderLost
            return answer, (width, height), frames, _received(link, due, deadline)
        except (EOFError, OSError):
            raise DecoderLost from None

    def end(self) -> None:
        if self._child is not None:
            process, link = self._child
            process.kill()
            process.wait()
            link.close()
            self._child = None

    def after_fork(self) -> None:
        """The child is our parent's, and while we hold its socket it would not see that our parent is gone."""
        self._lock = threading.Lock()
        if self._child is not None:
            self._child[1].close()
            self._child = None


_DECODER = _Decoder()
atexit.register(_DECODER.end)
os.register_at_fork(after_in_child=_DECODER.after_fork)


def _received(link: socket.socket, length: int, deadline: float) -> bytearray:
    """Exactly so many bytes.  Raises ``EOFError``, ``OSError``."""
    content = bytearray(length)
    left = memoryview(content)
    while left:
        link.settimeout(max(0.001, deadline - time.monotonic()))
        if not (count := link.recv_into(left)):
            raise EOFError
        left = left[count:]
    return content


def main() -> None:
    """The child.  Its timer ends what hangs in C code, also when our parent is gone."""
    import resource

    import pi_heif

    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    pi_heif.options.THUMBNAILS = False
    pi_heif.options.DECODE_THREADS = 1  # our pools have a process for each core already
    for kind, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        least = min([most, *(given for given in resource.getrlimit(kind) if given != resource.RLIM_INFINITY)])
        resource.setrlimit(kind, (least, least))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    replies.write(_READY)
    replies.flush()
    while True:
        signal.setitimer(signal.ITIMER_PROF, 0)
        request = requests.read(_REQUEST.size)
        if len(request) < _REQUEST.size:
            return
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))
        pixels, most, length = _REQUEST.unpack(request)
        _answer(replies, requests.read(length), most, pixels)
        replies.flush()


def _answer(replies: BufferedWriter, content: bytes, most: int, pixels: bool) -> None:
    """What the child says of a picture."""
    import pi_heif

    refusal = _UNKNOWN
    try:
        file = pi_heif.open_heif(content, convert_hdr_to_8bit=True)
        image = file[file.primary_index]
        if 0 in image.size:
            raise ValueError("the header gives no size")  # as Pillow does
        refusal, data = _DAMAGED, b""
        if pixels and len(file) == 1 and image.size[0] * image.size[1] <= most:
            data = image.data  # memory of ``image``; to decode may change the size
            data = data if image.size[0] * image.size[1] <= most else b""
        head = _REPLY.pack(image.mode.encode(), *image.size, len(file), len(data))
    except Exception as error:  # a broken file can make a decoder raise anything
        refusal = _DAMAGED if isinstance(error, MemoryError) else refusal
        head, data = _REPLY.pack(refusal, 0, 0, 0, 0), b""
    replies.write(head)
    replies.write(data)


if __name__ == "__main__":
    main()
