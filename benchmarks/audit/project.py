"""A small real project with a person to erase: git, DVC with two remotes, MLflow, a memo store, two versions.

What makes it hard is planted on purpose: one patient in two sources (by folder and by table), a copy and a broken file
of hers that ``collect`` refuses, a picture of hers that another patient has byte for byte, tables that name people side
by side, an image of somebody else that only the old version has, a report whose pictures are coded anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from PIL import Image

from benchmarks.audit.standin import encoded, names
from benchmarks.audit.truth import HER, OTHERS, Truth, her_ids, learn, note_owners
from cytoline.deid.review.decisions import Decision, record
from cytoline.pseudonyms import CROSSWALK_VARIABLE, KEY_VARIABLE

PROJECT = Path(__file__).resolve().parents[2]
_BLACK = (1, 901)
_STAGES = {
    "collect": (["data/incoming"], [{"data/raw": {"push": False}}]),
    "anonymize": (["data/raw", "data/review"], ["data/clean", {"data/quarantine": {"push": False}}]),
    "derive": (
        ["data/clean"],
        ["data/split", "data/augmented", "data/detections", "data/patches", "data/upscaled"],
    ),
    "finish": (
        ["data/upscaled", "data/clean", "data/split"],
        ["models/classifier", {"metrics/cases.jsonl": {"cache": False}}, "reports/index.html"],
    ),
}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in the project with its own key and crosswalk, away from the user's."""
    before = dict(os.environ)
    os.environ[KEY_VARIABLE] = str(folder.parent / f"{folder.name}-private" / "pseudonym.key")
    os.environ[CROSSWALK_VARIABLE] = str(folder.parent / f"{folder.name}-private" / "crosswalk.json")
    os.environ["PYTHONPATH"] = str(PROJECT)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def build(folder: Path, mode: str = "keyed") -> Truth:
    """Make the project in ``folder`` (which must not exist)."""
    folder.mkdir(parents=True)
    private = folder.parent / f"{folder.name}-private"
    private.mkdir(mode=0o700)
    (private / "pseudonym.key").write_text("5c" * 32 + "\n")
    (private / "pseudonym.key").chmod(0o600)
    truth = Truth()
    with inside(folder):
        _frame(mode)
        _first_version(truth)
        _commit(truth, "first")
        _second_version(truth)
        _commit(truth, "second")
        _plant_by_hand(truth)
        now = {path.name for path in Path("data/clean/images").iterdir()}
        gone = {name for name in truth.others if name.startswith("clean ") and name.split()[1] not in now}
        truth.only_old = {"incoming ABEL-1001 ABEL-1001/old.png", *gone}
        truth.hers = {
            name: content
            for name, content in truth.hers.items()
            if content not in {*truth.others.values(), *truth.common}
        }
    return truth


def dvc(*words: str) -> None:
    """A DVC command, in this process: starting one costs seconds."""
    from dvc.cli import main

    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        if main([words[0], "--quiet", *words[1:]]):
            raise RuntimeError(f"dvc {' '.join(words)} failed")


def git(*words: str) -> None:
    """A git command as nobody in particular."""
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *who, *words], check=True, stdout=subprocess.DEVNULL)


def _frame(mode: str) -> None:
    git("init", "--quiet", ".")
    dvc("init")
    shutil.copyfile(PROJECT / ".dvc" / "config", ".dvc/config")
    dvc("config", "core.site_cache_dir", str(Path().absolute().with_name(f"{Path().absolute().name}-private") / "site"))
    dvc("remote", "add", "-d", "shared", str(Path().absolute().with_name(f"{Path().absolute().name}-remote")))
    dvc("remote", "add", "secure", str(Path().absolute().with_name(f"{Path().absolute().name}-secure")))
    stages = {
        name: {"cmd": f"{sys.executable} -m benchmarks.audit.standin {name}", "deps": deps, "outs": outs}
        for name, (deps, outs) in _STAGES.items()
    }
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["collect"]["sources"] = ["clinic", "ward"]
    params["anonymize"]["pseudonyms"] = mode
    Path("params.yaml").write_text(yaml.safe_dump(params))
    shutil.copyfile(PROJECT / ".gitignore", ".gitignore")
    shutil.copyfile(PROJECT / ".dvcignore", ".dvcignore")
    Path("data/review").mkdir(parents=True)


def _picture(seed: int) -> bytes:
    """Noise, so that no two pictures share anything; some have the black corner for which they are kept back."""
    noise = random.Random(seed).randbytes(48 * 48 * 3)
    if seed in _BLACK:
        noise = bytes(3) + noise[3:]
    return encoded(Image.frombytes("RGB", (48, 48), noise), "PNG")


def _source(name: str, **rules: object) -> Path:
    folder = Path("data/incoming") / name
    folder.mkdir(parents=True, exist_ok=True)
    about = {"organ": "cervix", "stain": "papanicolaou", "microns_per_pixel": "unknown", "license": "none"}
    (folder / "source.yaml").write_text(yaml.safe_dump({**about, "legal_basis": "consent", **rules}))
    return folder


def _clinic(truth: Truth, files: dict[str, bytes]) -> None:
    """COCO; the first folder of a path is the patient."""
    shutil.rmtree("data/incoming/clinic", ignore_errors=True)
    folder = _source("clinic", kind="fields-coco", patient_id="^([A-Z]+-[0-9]+)/", annotations="annotations.json")
    for path, content in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    note_owners(truth, files, {path: path.split("/")[0] for path in files})
    boxes = [{"id": n, "image_id": n, "category_id": 1, "bbox": [8, 8, 24, 24]} for n in range(len(files))]
    coco = {
        "images": [{"id": n, "file_name": path} for n, path in enumerate(files)],
        "annotations": boxes,
        "categories": [{"id": 1, "name": "NILM"}],
    }
    (folder / "annotations.json").write_text(json.dumps(coco, indent=1))


def _ward(truth: Truth, files: dict[str, tuple[str, bytes]]) -> None:
    """A table says whose each picture is."""
    folder = _source("ward", kind="fields-csv-points", patient_id="column:patient", box_px=24, annotations="cells.csv")
    lines = ["file,x,y,label,patient"]
    for path, (patient, content) in files.items():
        (folder / path).write_bytes(content)
        lines.append(f"{path},20,20,NILM,{patient}")
    (folder / "cells.csv").write_text("\n".join(lines) + "\n")
    note_owners(truth, {p: c for p, (_, c) in files.items()}, {p: who for p, (who, _) in files.items()})


def _first_version(truth: Truth) -> None:
    files = {f"{who}/{n}.png": _picture(10 * number + n) for number, who in enumerate(OTHERS) for n in (1, 2)}
    files["ABEL-1001/old.png"] = _picture(900)
    files |= {f"{HER}/1.png": _picture(901), f"{HER}/removed.png": _picture(902)}
    _clinic(truth, files)


def _second_version(truth: Truth) -> None:
    files = {f"{who}/{n}.png": _picture(10 * number + n) for number, who in enumerate(OTHERS) for n in (1, 2)}
    her = {"1": _picture(901), "2": _picture(903), "same": _picture(901), "broken": _picture(904)[:900]}
    files |= {f"{HER}/{name}.png": content for name, content in her.items()}
    _clinic(truth, files)
    shared = _picture(903)
    rows = {"s1.png": (HER, _picture(905)), "s2.png": ("EGGE-6006", _picture(906)), "s3.png": ("EGGE-6006", shared)}
    _ward(truth, rows)
    from cytoline.registration import track_with_dvc

    with contextlib.ExitStack() as undo:
        track_with_dvc(Path("data/incoming/ward"), undo)
        undo.pop_all()
    decide = {"decision": "reject", "reviewer": "rev", "time": "2026-01-01T00:00:00Z", "reason": "not_usable"}
    for image in ("0" * 32, names().of("file", "not there"), her_ids()[0], "1" * 32):
        record(Path("data/review"), Decision.model_validate_json(json.dumps({"image": image, **decide})))


def _commit(truth: Truth, message: str) -> None:
    for name in ("clinic", "ward"):
        folder = Path("data/incoming") / name
        if folder.is_dir():
            dvc("add", str(folder))
            pointer = folder.with_name(f"{name}.dvc")
            loaded = yaml.safe_load(pointer.read_text())
            loaded["outs"][0]["remote"] = "secure"
            pointer.write_text(yaml.safe_dump(loaded))
    dvc("repro")
    dvc("push", "--run-cache")
    dvc("push", *map(str, sorted(Path("data/incoming").glob("*.dvc"))))
    learn(truth)
    _track()
    git("add", "-A")
    git("commit", "--quiet", "-m", message)


def _track() -> None:
    """A run of MLflow as the training stages record it."""
    from cytoline.tracking import stage_run

    with stage_run("train_classifier", {"epochs": 1}, {"train": Path("data/upscaled")}) as run:
        run.log_model(Path("models/classifier"), "cytoline-classifier")


def _plant_by_hand(truth: Truth) -> None:
    """What people and interrupted runs leave: samples and values in MLflow, states, an index, copies."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    version = client.get_model_version_by_alias("cytoline-classifier", "candidate")
    run = str(version.run_id)
    alone = {content for content in truth.hers.values() if content not in {*truth.others.values(), *truth.common}}
    mine = next(path for path in sorted(Path("data/clean/images").iterdir()) if path.read_bytes() in alone)
    client.log_artifact(run, str(mine), "samples")
    client.set_tag(run, "looked.at", f"patient {truth.pseudonym}")
    client.log_text(run, json.dumps([{"patient": truth.pseudonym}, {"patient": "0" * 32}]), "samples/list.json")
    resume = Path(".cytoline/resume/train_detector")
    resume.mkdir(parents=True)
    (resume / "state.json").write_text(json.dumps({"last": sorted(truth.codes)[0]}))
    Path(".cytoline/lineage.sqlite").write_bytes(b"SQLite format 3\0" + truth.pseudonym.encode())
    shutil.copyfile(mine, "data/copy-of-somebody.png")
    part = Path(".dvc/cache/files/md5/00/leftover.tmp")
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(mine.read_bytes())
