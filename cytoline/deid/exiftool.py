"""The second check: what exiftool can read in a file must be on a closed list of facts about pixels.

exiftool (Debian `libimage-exiftool-perl`) shares no code with us.  It does not see everything (of 17 hiding places in
JPEG it shows 10), so it comes after our own account of every byte and never instead of it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cytoline.deid.finding import Finding

ALLOWED = frozenset(
    {
        *("File:FileType", "File:FileTypeExtension", "File:MIMEType", "File:ImageWidth", "File:ImageHeight"),
        *("File:EncodingProcess", "File:BitsPerSample", "File:ColorComponents", "File:YCbCrSubSampling"),
        *("File:ExifByteOrder", "File:BMPVersion", "File:Planes", "File:BitDepth", "File:Compression"),
        *("File:ImageLength", "File:PixelsPerMeterX", "File:PixelsPerMeterY", "File:NumColors"),
        *("File:NumImportantColors", "ExifTool:ExifToolVersion"),
        *("JFIF:JFIFVersion", "JFIF:ResolutionUnit", "JFIF:XResolution", "JFIF:YResolution"),
        *("Adobe:DCTEncodeVersion", "Adobe:APP14Flags0", "Adobe:APP14Flags1", "Adobe:ColorTransform"),
        *("PNG:ImageWidth", "PNG:ImageHeight", "PNG:BitDepth", "PNG:ColorType", "PNG:Compression"),
        *("PNG:Filter", "PNG:Interlace", "PNG:Palette", "PNG:SRGBRendering", "PNG:Gamma"),
        *("Composite:ImageSize", "Composite:Megapixels"),
        *("RIFF:ImageWidth", "RIFF:ImageHeight", "RIFF:VP8Version", "RIFF:HorizontalScale", "RIFF:VerticalScale"),
    }
)
_SYSTEM = ("SourceFile", "System:")
"""The file's place and times, which belong to the disk and not to the file."""

_TIFF_TAGS = frozenset(
    {
        *("SubfileType", "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation"),
        *("StripOffsets", "SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "XResolution", "YResolution"),
        *("PlanarConfiguration", "ResolutionUnit", "Predictor", "TileWidth", "TileLength", "TileOffsets"),
        *("TileByteCounts", "JPEGTables", "YCbCrSubSampling", "YCbCrPositioning", "ExtraSamples", "SampleFormat"),
        *("Orientation", "FillOrder", "YCbCrCoefficients", "ReferenceBlackWhite"),
    }
)
BATCH = 500
SECONDS_PER_FILE = 5


def available() -> bool:
    """True if exiftool can be run here."""
    return shutil.which("exiftool") is not None


def check(files: Sequence[Path]) -> dict[Path, list[Finding]]:
    """Findings per file; files without any are left out.  DICOM is left to the account of its bytes.

    A file that exiftool did not answer for is a finding itself: silence is no proof.
    """
    found: dict[Path, list[Finding]] = {}
    for start in range(0, len(files), BATCH):
        batch = list(files[start : start + BATCH])
        answers = _ask(batch)
        for file in batch:
            tags = answers.get(str(file.absolute()))
            bad = [Finding("exiftool", "unsupported")] if tags is None else _judge(tags)
            if bad:
                found[file] = bad
    return found


def _ask(files: Sequence[Path]) -> dict[str, dict[str, object]]:
    """One call for many files; names go through an argument file, so that none is taken for an option."""
    # A pipe would never answer, and a link leads elsewhere.
    plain = [file for file in files if file.is_file() and not file.is_symlink()]
    names = [str(file.absolute()) for file in plain if "\n" not in str(file)]
    if not names:
        return {}
    command = ["exiftool", "-json", "-G1", "-a", "-u", "-ee", "-api", "LargeFileSupport=1", "-charset", "filename=utf8"]
    try:
        done = subprocess.run(
            [*command, "-@", "-"],
            input="\n".join(names).encode("utf-8", "surrogateescape"),
            capture_output=True,
            check=False,
            timeout=SECONDS_PER_FILE * len(names) + 30,
        )
        rows = json.loads(done.stdout.decode("utf-8", "replace") or "[]")
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return {str(row["SourceFile"]): row for row in rows if isinstance(row, dict) and "SourceFile" in row}


def _judge(tags: dict[str, object]) -> list[Finding]:
    if tags.get("File:FileType") == "DICOM":
        return []
    bad = {_place(name) for name in tags if not name.startswith(_SYSTEM) and not _allowed(name)}
    return sorted(Finding(place, "metadata") for place in bad)


def _allowed(name: str) -> bool:
    group, _, tag = name.partition(":")
    return name in ALLOWED or (group.startswith(("IFD", "SubIFD")) and tag in _TIFF_TAGS)


def _place(name: str) -> str:
    """exiftool's group only: names of unknown tags can come out of the file itself."""
    group = name.partition(":")[0]
    return f"exiftool:{group}" if group.replace("-", "").replace("_", "").isalnum() else "exiftool"
