"""A small repository with a history, written by hand: real git, real objects in DVC's cache, real ``dvc.lock``."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

STAGES = {
    "collect": (("data/incoming",), ("data/raw",)),
    "anonymize": (("data/raw",), ("data/clean",)),
    "split": (("data/clean",), ("data/split",)),
    "extract_patches": (("data/clean", "data/split"), ("data/patches",)),
    "train_classifier": (("data/patches", "data/split"), ("models/classifier",)),
    "evaluate": (("data/clean", "data/split", "models/classifier"), ("metrics/classifier.json",)),
}


def patient(number: int) -> str:
    return hashlib.md5(f"patient {number}".encode()).hexdigest()


class Lineage:
    """``commit(people, ...)`` records a whole run of the pipeline over these patients, two images each."""

    def __init__(self, top: Path) -> None:
        self.top = top
        top.mkdir()
        self._clock = 1_700_000_000
        self.git("init", "-q", "-b", "main")
        (top / ".dvc").mkdir()
        self.write(".dvc/config", "[core]\n    analytics = false\n")
        self.write(".gitignore", "/.dvc/cache\n/.cytoline\n/mlflow.db*\n/mlruns\n/data\n/models\n")
        self.write("requirements.lock", "numpy==2.0.0\ntorch==2.14.1\n")
        self.write("params.yaml", "seed: 3\n")
        self.write("stages/train.py", "learn()\n")

    def git(self, *words: str) -> str:
        name = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        dates = {f"GIT_{who}_DATE": f"{self._clock} +0000" for who in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(
            ["git", "-C", str(self.top), *words],
            capture_output=True,
            text=True,
            env={**os.environ, **name, **dates},
            check=True,
        )
        return done.stdout.strip()

    def write(self, path: str, content: str) -> None:
        (self.top / path).parent.mkdir(parents=True, exist_ok=True)
        (self.top / path).write_text(content, encoding="utf-8")

    def put(self, content: bytes, ending: str = "") -> str:
        md5 = hashlib.md5(content).hexdigest() + ending
        self.object(md5).parent.mkdir(parents=True, exist_ok=True)
        self.object(md5).write_bytes(content)
        return md5

    def object(self, md5: str) -> Path:
        return self.top / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def tree(self, files: Mapping[str, bytes]) -> str:
        rows = [{"md5": self.put(content), "relpath": name} for name, content in sorted(files.items())]
        return self.put(json.dumps(rows).encode(), ".dir")

    def commit(self, people: Sequence[int], weights: str = "w", message: str = "run", **changes: str) -> dict[str, str]:
        """Record a run and commit it; gives path -> hash of every out.  ``changes``: hashes to record otherwise."""
        known = self.record(people, weights, **changes)
        self._clock += 3600
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return known

    def record(self, people: Sequence[int], weights: str = "w", **changes: str) -> dict[str, str]:
        """Write the objects, ``dvc.lock`` and metrics of a run."""
        figures = json.dumps({"accuracy": 0.9, "weights": len(weights)})
        self.write("metrics/classifier.json", figures)
        known = {
            "data/incoming": "0" * 32 + ".dir",
            "data/raw": hashlib.md5(repr(people).encode()).hexdigest() + ".dir",
            "data/clean": self.tree(clean(people)),
            "data/split": self.tree({"split.jsonl": b"".join(map(row, split(people)))}),
            "data/patches": self.tree({"patches.jsonl": b"".join(map(row, patches(people))), "shard-000.tar": b""}),
            "models/classifier": self.tree(model(weights)),
            "metrics/classifier.json": self.put(figures.encode()),
            **{path.replace("_", "/", 1): md5 for path, md5 in changes.items()},
        }
        code = [self._dep("requirements.lock"), self._dep("stages/train.py")]
        stages = {
            name: {
                "cmd": f"python -m stages.{name}",
                "deps": [*code, *({"path": path, "hash": "md5", "md5": known[path]} for path in deps)],
                "params": {"params.yaml": {"seed": 3}},
                "outs": [{"path": path, "hash": "md5", "md5": known[path]} for path in outs],
            }
            for name, (deps, outs) in STAGES.items()
        }
        self.write("dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}))
        return known

    def _dep(self, path: str) -> dict[str, Any]:
        return {"path": path, "hash": "md5", "md5": hashlib.md5((self.top / path).read_bytes()).hexdigest()}


def images(people: Sequence[int]) -> list[tuple[int, str]]:
    pairs = [(number, hashlib.md5(f"image {number} {n}".encode()).hexdigest()) for number in people for n in range(2)]
    return sorted(pairs, key=lambda pair: pair[1])


def part(number: int) -> str:
    return ("train", "train", "val", "test")[number % 4]


def clean(people: Sequence[int]) -> dict[str, bytes]:
    records = [record(number, image) for number, image in images(people)]
    files = {f"images/{one['file']}": one["image_id"].encode() for one in records}
    return {"manifest.jsonl": b"".join(map(row, records)), **files}


def record(number: int, image: str) -> dict[str, Any]:
    return {
        "annotations": [{"annotator": None, "bbox": [1.0, 1.0, 5.0, 5.0], "label": '"file":"x"', "redacted": 0.0}],
        "file": f"{image}.png",
        "height": 64,
        "image_id": image,
        "labelled": True,
        "mpp": None,
        "organ": "cervix",
        "patient": patient(number),
        "role": "field",
        "sha256": hashlib.sha256(image.encode()).hexdigest(),
        "slide": f"slide{number}",
        "source": f"source{number % 2}",
        "stain": "papanicolaou",
        "width": 64,
    }


def split(people: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"group": patient(number), "image_id": image, "patient": patient(number), "split": part(number)}
        for number, image in images(people)
    ]


def patches(people: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": one["image_id"], "origin": "annotated", "patch_id": f"{one['image_id']}-a{n:04}"}
        | {"patient": one["patient"], "split": one["split"]}
        for one in split(people)
        for n in range(3)
    ]


def model(weights: str) -> dict[str, bytes]:
    sha256 = hashlib.sha256(weights.encode()).hexdigest()
    card = {"name": "cytoline-classifier", "seed": 3, "files": {"weights.safetensors": sha256}}
    return {"model_card.json": json.dumps(card).encode(), "weights.safetensors": weights.encode()}


def row(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
