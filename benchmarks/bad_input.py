"""Bad input, each case for real against the commands that a user types: refused or named, and nothing good lost.

A file case puts one bad thing beside a good image; it counts as handled when ``collect`` says why it left the
bad thing out and keeps the good one.  An error case must end with code 2, a cause and a remedy, without a
traceback, and leave the out of the last good run as it was.  Ctrl-C is sent to every stage of a finished pipeline.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.workplace import Done, PeakMemory, Workplace

GOOD = "the last good state\n"
COLLECT = (".venv/bin/python", "-m", "stages.collect", "--incoming", "data/incoming", "--out", "data/raw")
SOURCE = {
    "kind": "fields-coco",
    "annotations": "boxes.json",
    "organ": "cervix",
    "stain": "papanicolaou",
    "microns_per_pixel": "unknown",
    "license": "CC0-1.0",
    "legal_basis": "synthetic",
    "patient_id": "each-file",
}
MEMORY_BOUND = 2 * 2**30
"""Bytes; a bomb that is decoded would take five times as much."""


@dataclass(frozen=True)
class Outcome:
    """What one case came to."""

    case: str
    handled: bool
    what_happened: str


def run_all(finished: Workplace, folder: Path) -> list[Outcome]:
    """Every case.  ``finished`` holds a completed run; it is copied, never changed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    outcomes = []
    for number, (case, spoil, reason) in enumerate(FILE_CASES):
        outcomes.append(file_case(case, _place(folder / f"file-{number}"), spoil, reason))
    for number, (case, spoil_source, word) in enumerate(ERROR_CASES):
        outcomes.append(error_case(case, _place(folder / f"error-{number}"), spoil_source, word))
    outcomes.extend(disk_full(stage, finished.twin(folder / f"full-{stage}"), folder) for stage in FULL_DISK_STAGES)
    twin = finished.twin(folder / "interrupted")
    outcomes.extend(interrupted(stage, twin) for stage in stage_names(twin))
    return outcomes


def print_outcomes(outcomes: list[Outcome]) -> None:
    """One row per case."""
    table = Table("case", "handled", "what happened", title="bad input")
    for outcome in outcomes:
        table.add_row(
            outcome.case, "yes" if outcome.handled else "[red]NO[/]", outcome.what_happened.replace("[", r"\[")
        )
    Console().print(table)


# What is put in.  Each gets the source's folder, where good.png with one box lies, and spoils it.


def truncated_jpeg(source: Path) -> None:
    """The first half of a JPEG, as a broken copy leaves it."""
    whole = source / "whole.jpg"
    _noise(7).save(whole, quality=90)
    (source / "bad.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    _annotate(source, "bad.jpg")


def empty_file(source: Path) -> None:
    """No bytes at all."""
    (source / "bad.png").touch()
    _annotate(source, "bad.png")


def bomb(source: Path) -> None:
    """60,000 x 60,000 pixels in a few kilobytes: 10.8 GB when decoded."""
    rows = zlib.compressobj(9)
    line = bytes(1 + 60_000 * 3)
    content = b"".join(rows.compress(line) for _ in range(200)) + rows.flush()
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")
    (source / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    _annotate(source, "bad.png")


def text_named_png(source: Path) -> None:
    """A text file with an image's name."""
    (source / "bad.png").write_text("dear colleague,\n" * 50, encoding="utf-8")
    _annotate(source, "bad.png")


def path_with_dots(source: Path) -> None:
    """An annotation list that points out of its folder, to a file that exists."""
    _noise(9).save(source.parent / "outside.png")
    _annotate(source, "../outside.png")


def link_out(source: Path) -> None:
    """A symbolic link to an image elsewhere."""
    target = source.parents[2] / "elsewhere.png"
    _noise(11).save(target)
    (source / "bad.png").symlink_to(target)


def name_not_utf8(source: Path) -> None:
    """A file name from another century: Latin-1 bytes."""
    _noise(13).save(source / "tmp.png")
    os.rename(os.fsencode(source / "tmp.png"), os.fsencode(source) + b"/caf\xe9.png")  # noqa: PTH104 - a bytes path


def label_typo(source: Path) -> None:
    """A label that no taxonomy knows."""
    path = source / "boxes.json"
    path.write_text(path.read_text(encoding="utf-8").replace("LSIL", "LSLI"), encoding="utf-8")


def no_source_yaml(source: Path) -> None:
    """A folder of images without its description."""
    (source / "source.yaml").unlink()


FILE_CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("truncated JPEG", truncated_jpeg, "truncated"),
    ("0-byte file", empty_file, "empty"),
    ("60,000 x 60,000 bomb", bomb, "too_large"),
    ("text named .png", text_named_png, "unknown_format"),
    ("path with `..`", path_with_dots, "path_outside"),
    ("symlink out", link_out, "link_out"),
    ("non-UTF-8 name", name_not_utf8, "name_not_utf8"),
]
"""Name, what it does to the source, the reason that ``collect`` must give."""

ERROR_CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("label typo", label_typo, "LSLI"),
    ("missing source.yaml", no_source_yaml, "source.yaml"),
]
"""Name, what it does to the source, a word that the error must hold."""

FULL_DISK_STAGES = {
    "collect": ("--incoming", "data/incoming"),
    "anonymize": ("--raw", "data/raw", "--quarantine", "data/quarantine"),
    "augment": ("--clean", "data/clean", "--split", "data/split"),
}
"""Stages that write much, with their other arguments."""


def file_case(case: str, place: Workplace, spoil: Callable[[Path], None], reason: str) -> Outcome:
    """Run ``collect`` over a good image and the bad thing."""
    spoil(place.root / "data/incoming/bad")
    peak = PeakMemory()
    done = place.run(*COLLECT, watch=peak, timeout=300)
    if done.code != 0:
        return Outcome(case, False, f"code {done.code}: {_last(done)}")
    notes = (place.root / "data/raw/refused.jsonl").read_text(encoding="utf-8").splitlines()
    seen = {row["reason"] for row in map(json.loads, notes)}
    reasons = sorted(seen - {"other_file", "no_annotation", "image_refused"})  # what follows from the case itself
    images = len(list((place.root / "data/raw/images").iterdir()))
    handled = reasons == [reason] and images == 1 and peak.bytes < MEMORY_BOUND
    return Outcome(
        case, handled, f"left out: {', '.join(reasons)}; images kept: {images}; memory {peak.bytes / 2**20:.0f} MiB"
    )


def error_case(case: str, place: Workplace, spoil: Callable[[Path], None], word: str) -> Outcome:
    """Run ``collect`` over something that must stop it, with an older out in its place."""
    spoil(place.root / "data/incoming/bad")
    old = place.root / "data/raw/manifest.jsonl"
    old.parent.mkdir(parents=True)
    old.write_text(GOOD, encoding="utf-8")
    done = place.run(*COLLECT, timeout=300)
    handled = clear_error(done, word) and old.read_text(encoding="utf-8") == GOOD
    return Outcome(case, handled, f"code {done.code}: {_cause(done)}")


def disk_full(stage: str, place: Workplace, folder: Path) -> Outcome:
    """Let a stage write onto a file system of one megabyte that holds an older out."""
    case = f"disk full in {stage}"
    disk = folder / f"disk-{stage}"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False).returncode:
        return Outcome(case, False, "not run: mounting a small file system needs root")
    try:
        shutil.rmtree(place.root / ".cytoline/memo", ignore_errors=True)
        old = disk / "out/manifest.jsonl"
        old.parent.mkdir()
        old.write_text(GOOD, encoding="utf-8")
        arguments = (*FULL_DISK_STAGES[stage], "--out", str(disk / "out"))
        done = place.run(".venv/bin/python", "-m", f"stages.{stage}", *arguments, timeout=1200)
        left = [path.name for path in disk.iterdir() if path.name != "out"]
        handled = clear_error(done, "disk is full") and old.read_text(encoding="utf-8") == GOOD and not left
        return Outcome(case, handled, f"code {done.code}: {_cause(done)}" + (f"; left over: {left}" if left else ""))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
        shutil.rmtree(place.root)


def interrupted(stage: str, place: Workplace) -> Outcome:
    """Ctrl-C in the middle of a stage of a finished pipeline; then everything must still be there."""
    case = f"Ctrl-C in {stage}"
    lock = (place.root / "dvc.lock").read_bytes()
    shutil.rmtree(place.root / ".cytoline/memo", ignore_errors=True)
    for delay in (6.0, 3.0, 1.5, 0.5):
        with place.start(".venv/bin/dvc", "repro", "--force", "--single-item", stage) as running:
            started = running.wait_for(f"Running stage '{stage}'")
            time.sleep(delay)
            in_time = started and running.process.poll() is None
            running.interrupt()
            done = running.finish(timeout=90)
        same_lock = (place.root / "dvc.lock").read_bytes() == lock
        if in_time and done.code != 0 and same_lock:
            break
        # The stage had ended, and the signal met DVC, which can leave half of dvc.lock: that must be said and mended.
        if not same_lock and not _lock_mended(place):
            return Outcome(case, False, f"dvc.lock is broken after {delay:g} s, and `cytoline doctor` does not mend it")
        shutil.rmtree(place.root / ".cytoline/memo", ignore_errors=True)
    back = place.dvc("checkout", "--force")
    place.git("checkout", "--quiet", "--", "metrics")
    again = place.dvc("repro", timeout=1800)
    rerun = [name for name in again.stages_run() if name not in ("evaluate", "report")]
    quiet = "Traceback" not in done.text
    # While a stage loads its libraries the signal ends it without a word; DVC then names the signal.
    by_signal = in_time and ("interrupted" in done.text or "exited with -2" in done.text)
    handled = by_signal and done.code not in (0, -9) and same_lock and quiet
    handled = handled and back.code == 0 and again.code == 0 and not rerun
    words = f"code {done.code} after {delay:g} s; dvc.lock {'kept' if same_lock else 'CHANGED'}"
    words += "; results restored" if not rerun else f"; had to rerun {', '.join(rerun)}"
    return Outcome(case, handled, words + ("" if quiet else "; a traceback was shown"))


def _lock_mended(place: Workplace) -> bool:
    """`cytoline doctor` names the remedy for half a dvc.lock, and after it nothing has to run again."""
    told = place.cytoline("doctor")
    if "dvc.lock is not valid" not in told.text or "git checkout -- dvc.lock" not in " ".join(told.text.split()):
        return False
    place.git("checkout", "--quiet", "--", "dvc.lock", "metrics")
    again = place.dvc("repro", timeout=1800)
    return again.code == 0 and not again.stages_run()


def clear_error(done: Done, word: str) -> bool:
    """Code 2, a cause that holds ``word``, a remedy, no traceback."""
    parts = ("error:" in done.text, "to fix:" in done.text, word in done.text, "Traceback" not in done.text)
    return done.code == 2 and all(parts)


def stage_names(place: Workplace) -> list[str]:
    """The stages of dvc.yaml, in its order."""
    return list(yaml.safe_load((place.root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def _place(root: Path) -> Workplace:
    """A copy of the repository whose only source is ``bad``: one good image with one box."""
    place = Workplace.copy(root)
    place.change_yaml("params.yaml", {"collect.sources": ["bad"]})
    source = root / "data/incoming/bad"
    source.mkdir(parents=True)
    _noise(3).save(source / "good.png")
    boxes = {
        "images": [{"id": 1, "file_name": "good.png", "width": 96, "height": 96}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 20, 40, 40]}],
        "categories": [{"id": 1, "name": "LSIL"}],
    }
    (source / "boxes.json").write_text(json.dumps(boxes), encoding="utf-8")
    (source / "source.yaml").write_text(yaml.safe_dump(SOURCE), encoding="utf-8")
    return place


def _annotate(source: Path, name: str) -> None:
    """One box on a second image, so that there is a reason to open it."""
    path = source / "boxes.json"
    boxes = json.loads(path.read_text(encoding="utf-8"))
    boxes["images"].append({"id": 2, "file_name": name})
    boxes["annotations"].append({"id": 2, "image_id": 2, "category_id": 1, "bbox": [10, 10, 30, 30]})
    path.write_text(json.dumps(boxes), encoding="utf-8")


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _last(done: Done) -> str:
    return (done.text.strip().splitlines() or ["nothing was printed"])[-1]


def _cause(done: Done) -> str:
    return next((line for line in done.text.splitlines() if line.startswith("error:")), _last(done))
