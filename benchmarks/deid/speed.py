"""Time and memory: reading of burned-in text per megapixel, the lossless JPEG route, a slide of two gigapixels."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rapidocr import RapidOCR

from benchmarks.deid.ground import purple_field
from benchmarks.result import ROOT, Figure
from cytoline.compute import ComputeParams, core_count, worker_pool
from cytoline.deid import jpeg
from cytoline.deid.marks import find_marks
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.recreate import lossless_jpeg
from cytoline.images import RGB, read_image

FIELDS, DEFAULT, PHOTOS, ROUNDS = 16, 4, 1000, 3
SIDE, TILE = 45_056, 1024
"""Of the large slide: 2.03 gigapixels."""


def ocr(_folder: Path) -> list[Figure]:
    """Seconds per megapixel of fields of 1250 x 800 without text, all cores, the search for text and barcodes.

    Beside it, in turn with ours, what RapidOCR takes by its own settings (ONNX Runtime, all cores) for the text alone:
    the speed of rented machines changes by half from one quarter of an hour to the next, and the ratio says more.
    """
    params = AnonymizeParams.load()
    fields = [purple_field(seed) for seed in range(FIELDS)]
    each = fields[0].shape[0] * fields[0].shape[1] / 1e6
    default = RapidOCR(params={"Global.log_level": "critical"})
    default(fields[0])
    ours, theirs = [], []
    with worker_pool(ComputeParams.load()) as pool:
        list(pool.map(_searched, fields[: 2 * core_count()], [params] * (2 * core_count())))  # models are loaded
        for _ in range(ROUNDS):
            ours.append(_timed(lambda: list(pool.map(_searched, fields, [params] * len(fields)))) / len(fields) / each)
            theirs.append(_timed(lambda: [default(rgb[:, :, ::-1]) for rgb in fields[:DEFAULT]]) / DEFAULT / each)
    mine, other = statistics.median(ours), statistics.median(theirs)
    how = f"{FIELDS} fields, {core_count()} processes, median of {ROUNDS} rounds; text and barcodes"
    beside = f"RapidOCR by its own settings, text alone, {DEFAULT} of the fields, in turn with ours"
    return [
        Figure("ocr_s_per_mp", round(mine, 4), "s/MP", 0.25, "<=", FIELDS, how),
        Figure("ocr_default_s_per_mp", round(other, 4), "s/MP", None, "", DEFAULT, beside),
        Figure("ocr_vs_default", round(mine / other, 3), "ratio", None, "", ROUNDS, "ours over the line above"),
    ]


def _searched(rgb: RGB, params: AnonymizeParams) -> int:
    return len(find_marks(rgb, params).all)


def jpeg_route(folder: Path) -> list[Figure]:
    """Our lossless route of 1,000 files over one batch call of ``exiftool -all=``, in turn, medians.

    The route is the rewrite, the account of its segments and the decoder's proof that it reads all coded bytes.  What
    ``anonymize`` does to such a file besides the search for marks is a figure of its own: it decodes the file before
    and after, compares, and walks all coded blocks.
    """
    photos = folder / "photos"
    photos.mkdir()
    fields = [purple_field(seed, (640, 480)) for seed in range(8)]
    for number in range(PHOTOS):
        _, data = cv2.imencode(".jpg", fields[number % len(fields)], [cv2.IMWRITE_JPEG_QUALITY, 90])
        (photos / f"{number:04d}.jpg").write_bytes(_with_comment(data.tobytes(), number))
    _anonymized(photos / "0000.jpg", folder)  # compiles the walk
    seconds: dict[str, list[float]] = {"route": [], "anonymize": [], "exiftool": []}
    for number in range(ROUNDS):
        for name, work in (("route", _rewritten), ("anonymize", _anonymized)):
            target = folder / f"photos-{name}-{number}"
            target.mkdir()
            seconds[name].append(_timed(partial(_each, work, photos, target)))
        command = ["exiftool", "-q", "-q", "-all=", "-o", f"{folder / 'photos-exiftool'}-{number}/", str(photos)]
        seconds["exiftool"].append(_timed(partial(subprocess.run, command, check=True, capture_output=True)))
    checked = sorted((folder / "photos-route-0").iterdir())[::20]
    exact = sum(np.array_equal(read_image(photos / path.name), read_image(path)) for path in checked)
    took = {name: statistics.median(each) for name, each in seconds.items()}
    against = f"against {took['exiftool']:.2f} s, {PHOTOS} files of 640 x 480"
    return [
        Figure(
            "jpeg_vs_exiftool",
            round(took["route"] / took["exiftool"], 3),
            "ratio",
            1.0,
            "<=",
            ROUNDS,
            f"{took['route']:.2f} s {against}; rewrite, account of segments, decoder's proof",
        ),
        Figure(
            "jpeg_anonymize_vs_exiftool",
            round(took["anonymize"] / took["exiftool"], 3),
            "ratio",
            None,
            "",
            ROUNDS,
            f"{took['anonymize']:.2f} s {against}; all that anonymize does but the search for marks",
        ),
        Figure(
            "pixels_exact", exact / len(checked), "share", 1.0, ">=", len(checked), "rewritten JPEG decode as before"
        ),
    ]


def _with_comment(data: bytes, number: int) -> bytes:
    """A comment segment after SOI, so that there is something to remove."""
    body = b"patient %06d" % number
    return data[:2] + b"\xff\xfe" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def _each(work: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    files = sorted(source.iterdir())
    with ProcessPoolExecutor(core_count()) as pool:
        list(pool.map(work, files, [target] * len(files), chunksize=50))


def _rewritten(path: Path, target: Path) -> None:
    plain = jpeg.rewrite(path.read_bytes())
    if jpeg.verify(plain) is not None or jpeg.may_hide_words(plain, read_image):
        raise RuntimeError("a benchmark's own JPEG did not pass")
    (target / path.name).write_bytes(plain)


def _anonymized(path: Path, target: Path) -> None:
    source = path.read_bytes()
    plain = lossless_jpeg(source, read_image(source))
    if plain is None:
        raise RuntimeError("a benchmark's own JPEG did not pass")
    (target / path.name).write_bytes(plain)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def gigapixel(folder: Path) -> list[Figure]:
    """Peak memory of a process that makes a slide of two gigapixels anew, every tile searched for nothing."""
    source, target = folder / "gigapixel.tif", folder / "gigapixel-clean.tif"
    _write_slide(source)
    program = (
        "import resource, sys; from pathlib import Path; from cytoline.deid.slide import recreate_slide;"
        "done = recreate_slide(Path(sys.argv[1]), Path(sys.argv[2]), lambda rgb: ());"
        "print(done.tiles, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    started = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(source), str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    tiles, peak = (int(word) for word in done.stdout.split())
    how = f"{SIDE} x {SIDE} pixels in {tiles} tiles, decoded window by window; {time.perf_counter() - started:.0f} s"
    return [Figure("gigapixel_mb", round(peak / 1024, 1), "MB", 500, "<=", 1, how)]


def _write_slide(path: Path) -> None:
    """A tiled deflate TIFF of tissue-coloured tiles."""
    import tifffile

    across = SIDE // TILE
    tiles = [np.ascontiguousarray(purple_field(seed, (TILE, TILE))) for seed in range(4)]

    def each() -> Iterator[RGB]:
        for number in range(across * across):
            yield tiles[number % len(tiles)]

    tifffile.imwrite(
        path,
        each(),
        shape=(SIDE, SIDE, 3),
        dtype="uint8",
        tile=(TILE, TILE),
        compression="zlib",
        compressionargs={"level": 1},
        photometric="rgb",
        metadata=None,
        bigtiff=True,
    )
