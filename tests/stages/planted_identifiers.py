"""What the tests of anonymize share: params, made pictures, and a search that looks everywhere."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cytoline.deid.params import AnonymizeParams
from cytoline.images import RGB

PARAMS = AnonymizeParams(
    pseudonyms="keyed",
    max_megapixels=200,
    text_min_image=160,
    text_scale=384,
    text_score=0.5,
    text_max_height=0.2,
    margin=6,
    review=False,
)
PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "data"


def write_params(folder: Path, **anonymize: object) -> None:
    shown = {
        "seed": 0,
        "taxonomy": "bethesda",
        "profile": "cpu",
        "profiles": {"cpu": {}},
        "compute": {"scheduler": "local", "workers": 1, "threads": 1},
        "collect": {
            "sources": ["phantom"],
            "max_megapixels": 200,
            "max_file_megabytes": 64,
            "max_annotation_megabytes": 64,
        },
        "anonymize": {**PARAMS.model_dump(), **anonymize},
    }
    (folder / "params.yaml").write_text(json.dumps(shown), encoding="utf-8")
    if not (folder / "configs").exists():
        (folder / "configs").symlink_to(PROJECT / "configs")


def stained(width: int = 320, height: int = 240) -> RGB:
    rng = np.random.default_rng(0)
    return np.asarray(np.clip(rng.normal((205, 160, 195), 6, (height, width, 3)), 0, 255), np.uint8)


def labelled(text: str, at: tuple[int, int], size: int) -> RGB:
    image = Image.fromarray(stained())
    ImageDraw.Draw(image).text(at, text, fill=(10, 10, 20), font=ImageFont.load_default(size))
    return np.asarray(image, np.uint8)


def forms(value: str) -> Iterator[bytes]:
    """A string as it may lie in a file: encodings, letter cases, base64 at each alignment."""
    for text in {value, value.upper(), value.lower(), value.replace("-", ""), value.replace(", ", " ")}:
        yield text.encode()
        yield text.encode("utf-16-le")
        yield text.encode("utf-16-be")
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + text.encode())[4 if shift else 0 : -4]


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's name and bytes, with whatever zlib streams a PNG holds beside its pixels unpacked."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path.relative_to(folder)), path.name.encode() + b"\n" + content
        no_pixels = re.sub(rb"(?s)IDAT.*IEND", b"", content)
        for found in re.finditer(rb"x[\x01\x5e\x9c\xda]", no_pixels if path.suffix == ".png" else b""):
            with suppress(zlib.error):
                yield f"{path.name} unpacked", zlib.decompressobj().decompress(no_pixels[found.start() :], 1 << 22)


def survivors(folder: Path, needles: list[str]) -> set[tuple[str, str]]:
    wanted = [(needle, form) for needle in needles for form in set(forms(needle)) if len(form) >= 5]
    return {
        (name, needle) for name, content in contents(folder) for needle, form in wanted if form in content
    }  # fmt: skip
