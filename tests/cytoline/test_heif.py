"""HEIC: what kills, blocks or subverts the decoder costs one picture, and the next one is read."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.deid.fuzz_mutations import mutated
from benchmarks.deid.plant_heic import heic
from cytoline import heif, images
from cytoline.errors import CytolineError
from cytoline.images import RGB, UnreadableImage
from cytoline.sources.decode import VERDICT, DecodeLimits, judge
from tests.planted_heic import PHONE_PICTURE

PICTURE = base64.b64decode(PHONE_PICTURE)
DEADLY = mutated("heic", 13864)[1]
"""The type of an item is not UTF-8, of which pi_heif 1.4.0 dies."""


@pytest.fixture(autouse=True)
def own_decoder() -> Iterator[None]:
    heif._DECODER.end()
    yield
    heif._DECODER.end()


def decoders() -> list[psutil.Process]:
    """Not what other tests started: the resource tracker of multiprocessing, say."""
    return [child for child in psutil.Process().children() if "-P" in child.cmdline()]


def lost(content: bytes = PICTURE) -> bool:
    with pytest.raises(UnreadableImage) as caught:
        images.read_image(content)
    return (caught.value.reason, "DecoderLost" in caught.value.detail) == ("truncated", True)


def directly(content: bytes, tmp_path: Path) -> RGB:
    (tmp_path / "picture").write_bytes(content)
    program = """
        import sys, pi_heif, numpy
        from PIL import Image
        pi_heif.register_heif_opener(thumbnails=False)
        numpy.save(sys.argv[2], numpy.array(Image.open(sys.argv[1]).convert("RGB")))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "picture"), str(tmp_path / "pixels.npy")]
    subprocess.run(command, check=True, timeout=60)
    pixels: RGB = np.load(tmp_path / "pixels.npy")
    return pixels


@pytest.mark.parametrize("content", [PICTURE, heic(), heic(turned=True)], ids=["phone", "tiles", "turned"])
def test_pixels_are_those_that_pi_heif_gives_and_this_process_has_no_pi_heif(content: bytes, tmp_path: Path) -> None:
    pixels = directly(content, tmp_path)
    assert np.array_equal(images.read_image(content), pixels)
    assert np.array_equal(images.read_image(content, exif_orientation=True), pixels)
    assert images.probe(tmp_path / "picture") == (pixels.shape[1], pixels.shape[0], "HEIF")
    assert len(decoders()) == 1
    program = f"from cytoline import images; images.read_image(images.Path({str(tmp_path / 'picture')!r}))"
    program += "; import sys; assert not {'pi_heif', '_pi_heif'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_file_that_kills_the_decoder_costs_itself_only() -> None:
    expected = images.read_image(PICTURE)
    (first,) = decoders()
    assert lost(DEADLY)
    with pytest.raises(UnreadableImage) as caught:
        images.probe(DEADLY)
    assert caught.value.reason == "truncated"
    assert not first.is_running()
    assert np.array_equal(images.read_image(PICTURE), expected)


def test_a_header_without_a_size_is_no_picture_though_it_can_be_decoded() -> None:
    sizeless = mutated("heic", 568)[1]
    for read in (images.probe, images.read_image):
        with pytest.raises(UnreadableImage) as caught:
            read(sizeless)
        assert caught.value.reason == "unknown_format"


def test_a_decoder_that_died_at_rest_is_no_fault_of_the_next_picture() -> None:
    images.read_image(PICTURE)
    (first,) = decoders()
    first.kill()
    while first.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert images.read_image(PICTURE).shape == (48, 64, 3)


def test_a_decoder_that_sleeps_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    images.read_image(PICTURE)
    (first,) = decoders()
    first.suspend()
    with monkeypatch.context() as hurried:
        hurried.setattr(heif, "CLOCK", 0.5)
        assert lost()
        assert not first.is_running()
    assert images.read_image(PICTURE).shape == (48, 64, 3)
    assert len(decoders()) == 1


def test_a_decoder_that_works_without_end_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "SECONDS", 0.001)
    heif._DECODER._start()
    assert heif._DECODER._child is not None
    process, _ = heif._DECODER._child
    with pytest.raises(UnreadableImage, match="DecoderLost"):
        # Several: the system's clock of CPU time ticks every few milliseconds only.
        [images.read_image(heic()) for _ in range(1000)]
    assert process.returncode == -signal.SIGPROF


def test_an_interrupt_from_the_terminal_is_not_the_decoders() -> None:
    images.read_image(PICTURE)
    (decoder,) = decoders()
    assert os.getsid(decoder.pid) != os.getsid(0)


REPLIES = {
    "nothing": b"",
    "half a head": heif._REPLY.pack(b"RGB", 64, 48, 1, 64 * 48 * 3)[:7],
    "no mode": heif._REPLY.pack(b"CMYK", 64, 48, 1, 64 * 48 * 4) + bytes(64 * 48 * 4),
    "not text": heif._REPLY.pack(b"\xff\xfe", 64, 48, 1, 64 * 48 * 3) + bytes(64 * 48 * 3),
    "no width": heif._REPLY.pack(b"RGB", 0, 48, 1, 0),
    "no picture": heif._REPLY.pack(b"RGB", 64, 48, 0, 0),
    "no pixels": heif._REPLY.pack(b"RGB", 64, 48, 1, 0),
    "too few": heif._REPLY.pack(b"RGB", 64, 48, 1, 64 * 48 * 3 - 1) + bytes(64 * 48 * 3 - 1),
    "too many": heif._REPLY.pack(b"RGB", 64, 48, 1, 64 * 48 * 4) + bytes(64 * 48 * 4),
    "more than asked": heif._REPLY.pack(b"L", 20_000, 20_000, 1, 400_000_000),
    "a huge length": heif._REPLY.pack(b"RGB", 64, 48, 1, (1 << 64) - 1),
    "pixels of a refusal": heif._REPLY.pack(b"none", 64, 48, 1, 64 * 48 * 3) + bytes(64 * 48 * 3),
    "pixels of two": heif._REPLY.pack(b"RGB", 64, 48, 2, 64 * 48 * 3) + bytes(64 * 48 * 3),
    "ends early": heif._REPLY.pack(b"RGB", 64, 48, 1, 64 * 48 * 3) + bytes(64 * 48),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_a_decoder_that_answers_nonsense_is_refused(
    reply: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"""
        import os
        os.write(1, {heif._READY!r})
        os.read(0, 9)
        reply = {reply[:40]!r} + bytes({max(0, len(reply) - 40)})
        while reply:
            reply = reply[os.write(1, reply):]
    """
    (tmp_path / "taken_over.py").write_text(textwrap.dedent(program))
    with monkeypatch.context() as patched:
        patched.setattr(heif, "__file__", str(tmp_path / "taken_over.py"))
        assert lost()
    assert not decoders()
    assert images.read_image(PICTURE).shape == (48, 64, 3)


def test_a_decoder_that_does_not_start_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text("raise ImportError")
    monkeypatch.setattr(heif, "__file__", str(tmp_path / "broken.py"))
    with pytest.raises(CytolineError, match="does not start"):
        images.read_image(PICTURE)


def test_threads_share_a_decoder() -> None:
    expected = images.read_image(PICTURE)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.read_image, [PICTURE, heic()] * 20))
    assert all(np.array_equal(rgb, expected) for rgb in found[::2])
    assert {rgb.shape for rgb in found[1::2]} == {(64, 192, 3)}
    assert len(decoders()) == 1


def outcome(content: bytes) -> tuple[str, list[int]]:
    """What a worker sees, and the decoders that are its own."""
    try:
        return str(images.read_image(content).shape), [child.pid for child in decoders()]
    except UnreadableImage as error:
        return error.reason, [child.pid for child in decoders()]


@pytest.mark.workers
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_daemonic_workers_have_decoders_of_their_own(method: str) -> None:
    images.read_image(PICTURE)
    (ours,) = decoders()
    with Pool(2, context=get_context(method)) as pool:
        told = pool.map(outcome, [PICTURE, DEADLY, PICTURE, PICTURE], chunksize=1)
    assert [what for what, _ in told] == ["(48, 64, 3)", "truncated", "(48, 64, 3)", "(48, 64, 3)"]
    assert all(ours.pid not in pids and len(pids) <= 1 for _, pids in told)
    assert images.read_image(PICTURE).shape == (48, 64, 3)
    assert [child.pid for child in decoders() if child.pid == ours.pid], "ours was not touched"


def test_the_decoder_ends_with_its_parent_though_a_forked_worker_lives() -> None:
    program = f"""
        import os, sys, time
        from cytoline import heif, images
        images.read_image({PICTURE!r})
        worker = os.fork()
        if not worker:
            time.sleep(600)
        print(heif._DECODER._child[0].pid, worker, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    decoder, worker = map(int, parent.stdout.readline().split())
    try:
        assert psutil.Process(decoder).ppid() == parent.pid
        parent.kill()
        parent.wait()
        until = time.monotonic() + 30
        while psutil.pid_exists(decoder) and psutil.Process(decoder).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "the decoder lives on"
            time.sleep(0.05)
        assert psutil.pid_exists(worker)
    finally:
        os.kill(worker, signal.SIGKILL)
        parent.stdout.close()


def test_the_decoder_works_within_the_memory_that_its_parent_may_use() -> None:
    program = f"""
        import resource, psutil
        from cytoline import heif, images
        most = psutil.Process().memory_info().vms + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        assert images.read_image({PICTURE!r}).shape == (48, 64, 3)
        child = psutil.Process(heif._DECODER._child[0].pid)
        assert child.rlimit(resource.RLIMIT_AS) == (most, most)
        assert child.rlimit(resource.RLIMIT_FSIZE) == child.rlimit(resource.RLIMIT_CORE) == (0, 0)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


def test_a_phones_picture_is_collected(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.HEIC").write_bytes(PICTURE)
    verdict = json.loads(judge(tmp_path / "IMG_0001.HEIC", DecodeLimits(max_pixels=10_000))[VERDICT])
    assert (verdict["width"], verdict["height"], verdict["suffix"]) == (64, 48, ".heic")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.heic"
    with path.open("wb") as handle:
        handle.write(PICTURE)
        handle.truncate(heif.MAX_BYTES + 1)
    before = decoders()
    for read in (images.probe, images.read_image):
        with pytest.raises(UnreadableImage) as caught:
            read(path)
        assert caught.value.reason == "too_large"
    assert decoders() == before, "no decoder is asked"
