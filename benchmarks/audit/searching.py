"""What is left of somebody, and what others lost: found by looking at bytes, with none of the program's own code.

A file of hers is cut into windows; one window found anywhere, plain or as base64, in whatever container, is a find.  (A
window is as good as the file: all her pictures are noise.)  Her codes and her name are looked for as text.  Git's
objects are left out: what they hold is declared.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.audit.truth import HER, OTHERS, Truth

WINDOW = 48
_PNG_TRAILER = 12


def places(project: Path) -> dict[str, Path]:
    """Every place outside of git's that may hold something."""
    beside = {name: project.with_name(f"{project.name}-{name}") for name in ("remote", "secure", "private")}
    inside = {
        "cache": project / ".dvc" / "cache",
        "memo": project / ".cytoline" / "memo",
        "resume": project / ".cytoline" / "resume",
        "mlflow": project / "mlruns",
    }
    return {**beside, **inside, "project": project}


def count_left(project: Path, truth: Truth) -> Counter[str]:
    """Place -> files that still show her."""
    left: Counter[str] = Counter()
    windows = _windows(truth)
    words = {truth.pseudonym, *truth.codes, HER}
    known = places(project)
    for place, path in _files(known):
        content = path.read_bytes()
        text = content.decode("latin-1")
        named = any(word in text or word in path.as_posix() for word in words)
        if named or any(window in content for window in windows):
            left[place] += 1
    return left


def _files(known: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    inner = {path for name, path in known.items() if name != "project"}
    for name, root in known.items():
        for folder, below, files in os.walk(root):
            here = Path(folder)
            if name == "project":
                below[:] = [one for one in below if one != ".git" and here / one not in inner]
            yield from ((name, here / file) for file in files)


def _windows(truth: Truth) -> set[bytes]:
    """Of every file one window from its middle and the three ways in which base64 may show it."""
    found = set()
    for content in truth.hers.values():
        middle = content[len(content) // 2 :][:WINDOW]
        if len(middle) < WINDOW:
            middle = content[-WINDOW - _PNG_TRAILER : -_PNG_TRAILER]
        found.add(middle)
        for shift in range(3):
            found.add(base64.b64encode(bytes(shift) + middle)[8:-8])
    return found


def count_collateral(project: Path, truth: Truth, replaced: dict[str, str]) -> list[str]:
    """Files and rows of other people that are changed, lost, or out of reach."""
    lost = []
    held = {hashlib.sha256(p.read_bytes()).digest() for _, p in _files({"cache": project / ".dvc" / "cache"})}
    lost += [name for name, content in truth.others.items() if hashlib.sha256(content).digest() not in held]
    lost += _changed_in_work_tree(project, truth)
    for store in (project / ".dvc" / "cache", project.with_name(f"{project.name}-secure")):
        for old, rows in truth.versions.items():
            new = _listing(store, replaced.get(old, old))
            lost += [f"{store.name}: {path}" for path, md5 in rows.items() if new.get(path) != md5]
            lost += [
                f"{store.name}: object of {path}" for path, md5 in rows.items() if not _object(store, md5).is_file()
            ]
            lost += _old_rows(store, new)
    decided = [json.loads(line)["image"] for line in (project / "data/review/decisions.jsonl").read_text().splitlines()]
    lost += [f"decision {image[:4]}" for image in ("0" * 32, "1" * 32) if image not in decided]
    return lost


def _changed_in_work_tree(project: Path, truth: Truth) -> list[str]:
    lost = []
    for name, content in truth.others.items():
        kind, *_, path = name.split(" ")
        if kind == "clean":
            files = [project / "data/clean/images" / path]
        else:
            files = [project / "data/incoming" / source / path for source in ("clinic", "ward")]
        there = [file for file in files if file.is_file()]
        if not any(file.read_bytes() == content for file in there) and name not in truth.only_old:
            lost.append(f"work tree: {name}")
    images = json.loads((project / "data/incoming/clinic/annotations.json").read_text())
    want = {f"{who}/{n}.png" for who in OTHERS for n in (1, 2)}
    there_now = {item["file_name"]: item["id"] for item in images["images"]}
    boxed = {item["image_id"] for item in images["annotations"]}
    lost += [f"annotation {path}" for path in want if there_now.get(path) not in boxed]
    with (project / "data/incoming/ward/cells.csv").open(newline="") as table:
        rows = {row["file"]: row["patient"] for row in csv.DictReader(table)}
    return lost + [f"row {file}" for file in ("s2.png", "s3.png") if rows.get(file) != "EGGE-6006"]


def _old_rows(store: Path, listing: dict[str, str]) -> list[str]:
    """Annotations of others in an old version."""
    if "annotations.json" in listing:
        images = json.loads(_object(store, listing["annotations.json"]).read_text())["images"]
        names = {item["file_name"] for item in images}
        return [f"old annotation {who}" for who in OTHERS if f"{who}/1.png" not in names]
    if "cells.csv" in listing:
        text = _object(store, listing["cells.csv"]).read_text()
        rows = {row["file"] for row in csv.DictReader(io.StringIO(text))}
        return [f"old row {name}" for name in ("s2.png", "s3.png") if name not in rows]
    return ["annotations of an old version"]


def _listing(store: Path, md5: str) -> dict[str, str]:
    path = _object(store, md5)
    return {row["relpath"]: row["md5"] for row in json.loads(path.read_text())} if path.is_file() else {}


def _object(store: Path, md5: str) -> Path:
    return store / "files" / "md5" / md5[:2] / md5[2:]
