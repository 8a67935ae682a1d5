"""A repository with a long history and a large archive, made without training anything.

Real git commits with real ``dvc.lock`` files, real objects in DVC's cache (manifests, splits, tables of patches, model
folders) and a real MLflow store, whose rows of runs and versions are copies of one that MLflow's own client wrote.
Invented: the content.  Image files exist only for the patient that is asked about; of all others the listing stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_START = 1_700_000_000
DATASETS = 10
"""Versions of the data; the archive grows from half to all of its images."""
IMAGES_EACH = 4
"""Images per patient."""
CELLS = 8
"""Annotated cells, and patches, per image."""
FOLDER_FILES = 40
"""Files of code that each stage of the lock depends on, as the real one does."""


@dataclass(frozen=True)
class Archive:
    """What to ask it: a patient of every data set version, and one of the last models."""

    folder: Path
    patient: str
    model_ref: str


def make_archive(folder: Path, images: int, versions: int) -> Archive:
    """Build it in ``folder`` (absent or empty): ``images`` in the end, ``versions`` of one model."""
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "-q", "-b", "main")
    for words in (("user.name", "archive"), ("user.email", "archive@example.org"), ("gc.auto", "0")):
        _git(folder, "config", *words)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
    (folder / ".gitignore").write_text("/.dvc/cache\n/.cytoline\n/mlflow.db*\n/mlruns\n", encoding="utf-8")
    (folder / "requirements.lock").write_text("".join(f"package{n}==1.{n}\n" for n in range(250)), encoding="utf-8")
    (folder / "params.yaml").write_text("seed: 0\n", encoding="utf-8")
    code = _code(folder)
    cache = Objects(folder / ".dvc/cache/files/md5")
    data = [_data(cache, images * (DATASETS + step) // (2 * DATASETS - 1), images) for step in range(DATASETS)]
    models = []
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "code", time=_START)
    template = _template(code)
    commits = []
    for number in range(versions):
        models.append(_model(cache, number))
        figures = {"accuracy": 0.8 + number / (10 * versions), "per_class": {"HSIL": {"sensitivity": 0.9}}}
        metrics = json.dumps(figures) + "\n"
        lock = _lock(template, data[number * DATASETS // versions], models[-1][0], _md5(metrics.encode()))
        commits.append((f"model {number}", {"dvc.lock": lock, "metrics/classifier.json": metrics}))
    _commit_all(folder, commits)
    _store(folder, models)
    return Archive(folder, _patient(0), f"cytoline-classifier/{versions}")


class Objects:
    """DVC's cache, written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes) -> str:
        """Store one object; gives its md5."""
        return self._write(_md5(content), content)

    def tree(self, listing: dict[str, str]) -> str:
        """Store a folder's listing; gives its hash with ``.dir``."""
        rows = [{"md5": md5, "relpath": name} for name, md5 in sorted(listing.items())]
        content = json.dumps(rows).encode()
        return self._write(_md5(content) + ".dir", content)

    def _write(self, md5: str, content: bytes) -> str:
        path = self._folder / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return md5


def _data(cache: Objects, count: int, images: int) -> dict[str, str]:
    """One version of data/clean, data/split, data/patches and data/upscaled; hash of each."""
    manifest, split, patches = [], [], []
    listing: dict[str, str] = {}
    for number in _numbers(count, images):
        image, patient = _id("image", number), _patient(number // IMAGES_EACH)
        content = f"image {number}".encode()
        file = f"{image}.png"
        listing[f"images/{file}"] = cache.put(content) if number < IMAGES_EACH else _md5(content)
        part = _part(number // IMAGES_EACH)
        manifest.append(_line(_record(number, image, file, patient, content)))
        split.append(_line({"group": patient, "image_id": image, "patient": patient, "split": part}))
        patches += [_line(row) for row in _patches(image, patient, part)]
    table = cache.put("".join(patches).encode())
    shards = {f"shard-{number:03}.tar": _md5(f"shard {count} {number}".encode()) for number in range(16)}
    return {
        "data/clean": cache.tree(
            {**listing, "manifest.jsonl": cache.put("".join(sorted(manifest, key=_image_of)).encode())}
        ),
        "data/split": cache.tree({"split.jsonl": cache.put("".join(sorted(split)).encode())}),
        "data/patches": cache.tree({**shards, "patches.jsonl": table}),
        "data/upscaled": cache.tree({**shards, "method.json": cache.put(b"{}"), "patches.jsonl": table}),
    }


def _numbers(count: int, images: int) -> Iterator[int]:
    """The first ``count`` images, in the order of their ids."""
    yield from sorted(range(min(count, images)), key=lambda number: _id("image", number))


def _image_of(line: str) -> str:
    return str(json.loads(line)["image_id"])


def _record(number: int, image: str, file: str, patient: str, content: bytes) -> dict[str, Any]:
    return {
        "annotations": [
            {"annotator": _id("annotator", 1), "bbox": [10.0 * n, 20.0, 30.0, 40.0], "label": "NILM", "redacted": 0.0}
            for n in range(CELLS)
        ],
        "file": file,
        "height": 384,
        "image_id": image,
        "labelled": True,
        "mpp": 0.5,
        "organ": "cervix",
        "patient": patient,
        "role": "field",
        "sha256": hashlib.sha256(content).hexdigest(),
        "slide": _id("slide", number // 2),
        "source": f"source{number // IMAGES_EACH % 5}",
        "stain": "papanicolaou",
        "width": 512,
    }


def _patches(image: str, patient: str, part: str) -> Iterator[dict[str, Any]]:
    for number in range(CELLS):
        yield {
            "bbox": [10.0 * number, 20.0, 30.0, 40.0],
            "image_id": image,
            "label": "NILM",
            "origin": "annotated",
            "patch_id": f"{image}-a{number:04}",
            "patient": patient,
            "score": None,
            "source": "source0",
            "split": part,
        }


def _model(cache: Objects, number: int) -> tuple[str, str]:
    """One model folder: its digest and the sha256 of its weights."""
    weights = f"weights {number}".encode()
    sha256 = hashlib.sha256(weights).hexdigest()
    card = {
        "files": {"weights.safetensors": sha256},
        "name": "cytoline-classifier",
        "seed": 0,
        "versions": {"torch": "2"},
    }
    listing = {"model_card.json": cache.put(json.dumps(card).encode()), "weights.safetensors": cache.put(weights)}
    return cache.tree(listing), sha256


def _code(folder: Path) -> list[dict[str, Any]]:
    """Files of code, and how a lock lists them as deps."""
    (folder / "code").mkdir()
    deps = []
    for number in range(FOLDER_FILES):
        content = f'"""Module {number}."""\n'.encode()
        (folder / f"code/module{number}.py").write_bytes(content)
        deps.append({"path": f"code/module{number}.py", "hash": "md5", "md5": _md5(content), "size": len(content)})
    lock = (folder / "requirements.lock").read_bytes()
    return [*deps, {"path": "requirements.lock", "hash": "md5", "md5": _md5(lock), "size": len(lock)}]


def _template(code: list[dict[str, Any]]) -> str:
    """``dvc.lock`` with ``@path@`` in the place of each hash of data."""

    def items(*paths: str) -> list[dict[str, Any]]:
        return [{"path": path, "hash": "md5", "md5": f"@{path}@", "size": 1} for path in paths]

    chain = {
        "collect": ((), ("data/raw",)),
        "anonymize": (("data/raw",), ("data/clean",)),
        "split": (("data/clean",), ("data/split",)),
        "extract_patches": (("data/clean", "data/split"), ("data/patches",)),
        "upscale": (("data/patches",), ("data/upscaled",)),
        "train_classifier": (("data/split", "data/upscaled"), ("models/classifier",)),
        "evaluate": (("data/clean", "data/split", "models/classifier"), ("metrics/classifier.json",)),
    }
    stages = {
        name: {
            "cmd": f"python -m stages.{name}",
            "deps": [*code, *items(*deps)],
            "params": {"params.yaml": {"seed": 0}},
            "outs": items(*outs),
        }
        for name, (deps, outs) in chain.items()
    }
    return str(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _lock(template: str, data: dict[str, str], model: str, metrics: str) -> str:
    raw = _md5(data["data/clean"].encode()) + ".dir"
    known = {**data, "data/raw": raw, "models/classifier": model, "metrics/classifier.json": metrics}
    for path, md5 in known.items():
        template = template.replace(f"'@{path}@'", md5)
    return template


def _commit_all(folder: Path, commits: list[tuple[str, dict[str, str]]]) -> None:
    """Many commits through one process."""
    stream = []
    for number, (message, files) in enumerate(commits, start=1):
        stream.append(
            f"commit refs/heads/main\ncommitter archive <archive@example.org> {_START + 3600 * number} +0000\n"
        )
        stream.append(f"data {len(message)}\n{message}\n")
        stream += ["from refs/heads/main^0\n"] if number == 1 else []
        stream += [f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n" for path, text in files.items()]
    command = ["git", "-C", str(folder), "fast-import", "--quiet"]
    subprocess.run(command, input="".join(stream), text=True, check=True)
    _git(folder, "reset", "-q", "--hard")


def _store(folder: Path, models: list[tuple[str, str]]) -> None:
    """MLflow's store: the first run and version by its own client, the others as copies of these rows."""
    import mlflow

    uri = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("cytoline", artifact_location=str(folder.absolute() / "mlruns/1"))
    commits = _git(folder, "log", "--reverse", "--format=%H", "--", "dvc.lock").split()
    tags = {"cytoline.git.commit": commits[0], "cytoline.git.dirty": "false", "cytoline.stage": "train_classifier"}
    run = client.create_run(experiment, tags=tags, run_name="train_classifier")
    client.set_terminated(run.info.run_id, "FINISHED")
    client.create_registered_model("cytoline-classifier")
    source = f"{run.info.artifact_uri}/model"
    client.create_model_version(
        "cytoline-classifier",
        source,
        run.info.run_id,
        tags={"cytoline.model.digest": models[0][0]},
        await_creation_for=0,
    )
    client.set_registered_model_alias("cytoline-classifier", "candidate", "1")
    with sqlite3.connect(folder / "mlflow.db") as store:
        for number in range(1, len(models)):
            changes = {"run_uuid": _id("run", number), "run_id": _id("run", number), "version": number + 1}
            for table in ("runs", "tags", "model_versions", "model_version_tags"):
                _copies(store, table, run.info.run_id, changes, models[number][0], commits[number])
        store.execute("UPDATE registered_model_aliases SET version = ?", (len(models),))


def _copies(store: sqlite3.Connection, table: str, run: str, changes: dict[str, Any], digest: str, commit: str) -> None:
    cursor = store.execute(f"SELECT * FROM {table} WHERE " + ("version = 1" if "model" in table else "run_uuid = ?"),
                           () if "model" in table else (run,))  # fmt: skip
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        values = {**dict(zip(names, row, strict=True))}
        values |= {name: value for name, value in changes.items() if name in values}
        if values.get("key") == "cytoline.model.digest":
            values["value"] = digest
        if values.get("key") == "cytoline.git.commit":
            values["value"] = commit
        marks = ", ".join("?" * len(values))
        store.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"


def _id(kind: str, number: int) -> str:
    return hashlib.blake2b(f"{kind} {number}".encode(), digest_size=16).hexdigest()


def _patient(number: int) -> str:
    return _id("patient", number)


def _part(number: int) -> str:
    return "train" if number % 5 < 3 else ("val", "test")[number % 5 - 3]


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _git(folder: Path, *words: str, time: int | None = None) -> str:
    when = {} if time is None else {"GIT_AUTHOR_DATE": f"{time} +0000", "GIT_COMMITTER_DATE": f"{time} +0000"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, env={**os.environ, **when}
    )
    return done.stdout
