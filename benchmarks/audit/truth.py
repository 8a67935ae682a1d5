"""What is whose in the project of ``benchmarks.audit.project``: the answer key, learned while it is made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image

from benchmarks.audit.standin import encoded, names
from cytoline.shards import Shards

HER = "KRUSE-4711"
OTHERS = ("ABEL-1001", "BOHM-2002", "CORD-3003", "DIAZ-5005")


@dataclass
class Truth:
    """What is whose.  Kept outside the project, and never shown to the program under test."""

    pseudonym: str = ""
    hers: dict[str, bytes] = field(default_factory=dict)
    """Every file that is hers alone: originals, clean, quarantined, augmented, patches, page pictures."""
    codes: set[str] = field(default_factory=set)
    """Her pseudonyms: image ids, slide."""
    others: dict[str, bytes] = field(default_factory=dict)
    """Originals and clean pictures of other people, in any version."""
    common: set[bytes] = field(default_factory=set)
    """What is made of other people's pictures, and may be the same as what is made of hers."""
    only_old: set[str] = field(default_factory=set)
    """Those of ``others`` that the work tree does not have any more."""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    """Old listing of a source -> the other people's files in it and their md5."""


def note_owners(truth: Truth, files: dict[str, bytes], owner: dict[str, str]) -> None:
    """Note whose each original is."""
    for path, content in files.items():
        (truth.hers if owner[path] == HER else truth.others)[f"incoming {owner[path]} {path}"] = content


def her_ids() -> list[str]:
    """Her images in the work tree, by the names that data/clean gives them."""
    rows = [json.loads(line) for line in Path("data/raw/manifest.jsonl").read_text().splitlines()]
    return [names().of("file", row["image_id"]) for row in rows if row["patient"] == HER]


def learn(truth: Truth) -> None:
    """Note what each folder now holds of whom."""
    truth.pseudonym = names().of("patient", HER)
    for line in Path("data/raw/manifest.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["patient"] == HER:
            truth.codes |= {row["image_id"], names().of("file", row["image_id"])}
            truth.codes.add(names().of("slide", f"{HER}\0{row['slide']}"))
    for path in Path("data/clean/images").iterdir():
        (truth.hers if path.stem in truth.codes else truth.others)[f"clean {path.name}"] = path.read_bytes()
    for path in Path("data/quarantine/images").iterdir():
        if path.stem in truth.codes:
            truth.hers[f"quarantine {path.name}"] = path.read_bytes()
    for kind in ("augmented", "patches", "upscaled"):
        for name, content in Shards(Path("data") / kind).items():
            if name[:32] in truth.codes:
                truth.hers[f"{kind} {name}"] = content
            else:
                truth.common.add(content)
    for path in Path("data/clean/images").iterdir():
        page, fingerprint = encoded(Image.open(path), "JPEG"), hashlib.sha512(path.read_bytes()).digest()
        if path.stem in truth.codes:
            truth.hers |= {f"page {path.name}": page, f"fingerprint {path.name}": fingerprint}
        else:
            truth.common |= {page, fingerprint}
    _learn_versions(truth)


def _learn_versions(truth: Truth) -> None:
    for pointer in Path("data/incoming").glob("*.dvc"):
        md5 = yaml.safe_load(pointer.read_text())["outs"][0]["md5"]
        rows = json.loads((Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]).read_text())
        hers = (HER, "s1.png", "annotations.json", "cells.csv")
        truth.versions[md5] = {r["relpath"]: r["md5"] for r in rows if not r["relpath"].startswith(hers)}
