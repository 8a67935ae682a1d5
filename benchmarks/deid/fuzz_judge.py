"""One mutated file: what ``deidentify_file`` makes of it, and whether the verifier passes what came out.

The pixels are not searched for writing (pictures are below ``text_min_image``, DICOM and slides ask for none): that is
another part of the benchmark, and would be nearly all of the time.  A picture may claim a million pixels at most.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from benchmarks.deid.fuzz_case import Case, Format, Outcome, Verdict
from benchmarks.deid.fuzz_mutations import mutated
from benchmarks.deid.fuzz_pixels import only_in_pixels
from benchmarks.deid.fuzz_seeds import planted
from cytoline.deid import dicom, exiftool
from cytoline.deid.finding import Finding
from cytoline.deid.folder import Made, deidentify_file
from cytoline.deid.identity import Identity
from cytoline.deid.marks import find_marks
from cytoline.deid.needles import Needles
from cytoline.deid.params import AnonymizeParams
from cytoline.deid.verify import check_file
from cytoline.deid.vocabulary import Vocabulary
from cytoline.images import RGB, UnreadableImage, read_image
from cytoline.pseudonyms import Pseudonyms


class Judge:
    """Lives in a worker process: everything that cases share is made once."""

    def __init__(self) -> None:
        loaded = AnonymizeParams.load()
        self._params = loaded.model_copy(update={"max_megapixels": 1, "text_min_image": 4096})
        self._identity = Identity(Pseudonyms(bytes(range(32))))
        self._folder = tempfile.TemporaryDirectory()
        self._out = Path(self._folder.name) / "out"
        self._kept = Path(self._folder.name) / "kept"
        self._out.mkdir()
        self._kept.mkdir()
        # What is loaded at the first picture, or at the first writing, is no part of any case.
        for width in (150, self._params.text_min_image):
            if not find_marks(_writing(width), self._params).texts:
                raise AssertionError("the reader is not ready")
        self._said = (Path(self._folder.name) / "said").open("w+b")
        for stream in (sys.stdout, sys.stderr):
            os.dup2(self._said.fileno(), stream.fileno())

    def __call__(self, case: Case) -> Verdict:
        """Whatever happens, it is said."""
        began = time.process_time()
        outcome, what = self._judged(case)
        if self._repeats(case.format):
            outcome, what = "failed", "a library's warning repeats what the file holds"
        return Verdict(outcome, what, time.process_time() - began)

    def at_end(self) -> dict[Case, Verdict]:
        """What exiftool says against files of this batch: one call, since to start it takes half a second."""
        files = sorted(self._kept.iterdir())
        bad = exiftool.check(files) if files and exiftool.available() else {}
        for file in files:
            file.unlink()
        return {_case_of(file): Verdict("failed", _told(set(found)), 0.0) for file, found in bad.items()}

    def _judged(self, case: Case) -> tuple[Outcome, str]:
        _, content = mutated(*case)
        source = Path(self._folder.name) / "case"
        source.write_bytes(content)
        try:
            made = deidentify_file(source, self._out, name_of(case), self._identity, self._params, pixels=False)
            left = sorted(self._out.iterdir())
            if made.file is None:
                return ("failed", "refused, and left a file") if left else ("refused", f"{made.kind}: {made.reason}")
            if left != [self._out / made.file]:
                return "failed", "other files than it says"
            return self._verified(case, made, left[0])
        except Exception as error:  # each is a failure that must be told
            return "failed", where(error)
        finally:
            for path in self._out.iterdir():
                path.unlink()

    def _verified(self, case: Case, made: Made, file: Path) -> tuple[Outcome, str]:
        found = {*check_file(file, needles(case.format), None, Vocabulary()), *_unreadable(made, file)}
        if found == {Finding("bytes", "identifier")} and only_in_pixels(made, file, needles(case.format)):
            return "in_pixels", made.kind
        if found:
            return "failed", _told(found)
        if made.kind != "dicom":  # of which exiftool is not asked
            file.rename(self._kept / f"{case.format}.{case.number}{file.suffix}")
        return "passed", made.kind

    def _repeats(self, fmt: Format) -> bool:
        """Whether a canary is in what was said on the standard streams since the last case."""
        if not os.fstat(self._said.fileno()).st_size:
            return False
        self._said.seek(0)
        said = self._said.read()
        self._said.seek(0)
        self._said.truncate()
        return needles(fmt).inside(said)


def _writing(width: int) -> RGB:
    """Mutations can make a picture so small, or so wide, that it is read; a reader for either is loaded then."""
    height = max(100, width // 16)
    page = np.full((height, width, 3), 230, np.uint8)
    size = height / 120
    cv2.putText(
        page,
        "ABCD 1234",
        (5, 2 * height // 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        (20, 20, 20),
        2 + width // 1000,
        cv2.LINE_AA,
    )
    return page


def name_of(case: Case) -> str:
    """A pseudonym in shape."""
    return f"{case.number:032x}"


def _case_of(file: Path) -> Case:
    fmt, number, _ = file.name.split(".")
    return Case(cast("Format", fmt), int(number))


def _told(found: set[Finding]) -> str:
    return ", ".join(f"{item.place} {item.why}" for item in sorted(found))


@cache
def needles(fmt: Format) -> Needles:
    """The canaries of all planted files of the format: a splice has those of two."""
    return Needles(word for seed in planted(fmt) for word in seed.words)


def where(error: BaseException) -> str:
    """Kind and place of an exception, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "cytoline" in Path(frame.filename).parts] or frames
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


def _unreadable(made: Made, file: Path) -> list[Finding]:
    """What was made must open."""
    try:
        if made.kind == "image":
            read_image(file)
        elif made.kind == "dicom":
            for _ in dicom.read_frames(file):
                pass
    except (UnreadableImage, dicom.CannotRecreate):
        return [Finding("pixels", "unsupported")]
    return []
