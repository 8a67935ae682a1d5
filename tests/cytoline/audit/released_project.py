"""A small project with a real git history and a real `dvc repro`, from which a package can be exported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

PATIENT = "ab" * 16

_DVC_YAML = """
stages:
  collect: {cmd: python make.py collect, deps: [make.py, data/incoming], params: [seed], outs: [data/raw]}
  anonymize: {cmd: python make.py anonymize, deps: [make.py, data/raw], outs: [data/clean]}
  split: {cmd: python make.py split, deps: [make.py, data/clean], outs: [data/split]}
  train_classifier:
    cmd: python make.py train
    deps: [make.py, data/clean, data/split, requirements.lock]
    params: [seed, classifier.epochs]
    outs: [models/classifier]
  evaluate:
    cmd: python make.py evaluate
    deps: [make.py, models/classifier, data/split]
    outs: [metrics/classifier.json: {cache: false}]
"""

_MAKE = """
import hashlib, json, sys
from pathlib import Path

def put(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    Path(path).write_text(text)

def lines(path, rows):
    put(path, "".join(json.dumps(row, sort_keys=True) + "\\n" for row in rows))

stage, PARTS = sys.argv[1], ("train", "val", "test")
ids = [f"{n:032x}" for n in range(6)]
if stage == "collect":
    put("data/raw/collected.json", {"images": 6})
if stage == "anonymize":
    common = {"width": 9, "height": 9, "mpp": None, "slide": "s", "source": "shop", "organ": "cervix", "stain": "pap"}
    lines("data/clean/manifest.jsonl", [common | {
        "image_id": one, "file": one + ".png", "sha256": hashlib.sha256(one.encode()).hexdigest(), "role": "field",
        "patient": PATIENTS[number // 2], "annotations": [{"bbox": [0, 0, 2, 2], "label": "NILM"}],
    } for number, one in enumerate(ids)])
    lines("data/clean/audit.jsonl", [{"event": "begun"}])
if stage == "split":
    lines("data/split/split.jsonl", [
        {"image_id": one, "patient": PATIENTS[n // 2], "group": PATIENTS[n // 2], "split": PARTS[n // 2]}
        for n, one in enumerate(ids)])
if stage == "train":
    put("models/classifier/weights.safetensors", "weights")
    put("models/classifier/config.py", "# none")
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path("models/classifier").iterdir()}
    put("models/classifier/model_card.json", {
        "name": NAME, "version": "1", "stage": "classifier", "intended_use": USE, "limits": ["few"], "files": files,
        "inputs": [{"name": "patch", "shape": ["h", "w", 3], "dtype": "uint8", "meaning": "RGB"}],
        "outputs": [{"name": "p", "shape": ["n", 4], "dtype": "float64", "meaning": "sums to 1"}]})
if stage == "evaluate":
    put("metrics/classifier.json", {
        "balanced_accuracy": 0.8, "balanced_accuracy_low": 0.7, "balanced_accuracy_high": 0.9, "cells": 2,
        "per_class": {"NILM": {"sensitivity": 1.0}}})
"""


def make_project(top: Path, name: str = "shop-classifier", use: str = "Research.") -> Path:
    """Everything up to the commit that records the run."""
    top.mkdir(parents=True)
    patients = [PATIENT, "cd" * 16, "ef" * 16]
    make = _MAKE.replace("PATIENTS", repr(patients)).replace("NAME", repr(name)).replace("USE", repr(use))
    files = {
        "dvc.yaml": _DVC_YAML.replace("python make.py", f'"{sys.executable}" make.py').replace('"', ""),
        "make.py": make,
        "params.yaml": "seed: 0\nclassifier: {epochs: 3}\nsplit: {train: 0.6, test: 0.2}\n",
        "requirements.in": "# Pipeline, tracking\ndvc==3.67.1   # versions of data\n",
        "requirements.lock": "# exact\ndvc==3.67.1\npyyaml==6.0.3\nnot-there-at-all==1.0\n",
        "data/incoming/shop/source.yaml": "kind: fields-plain\nlicense: CC-BY-4.0\nlegal_basis: consent\n",
        "approvals/intended_use.yaml": 'intended_purpose: ""\nprovider: {name: "", contact: ""}\n',
        ".gitignore": "/data/raw\n/data/clean\n/data/split\n/models/classifier\n.cytoline/\n",
        "README.md": "read me\n",
    }
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    git(top, "init", "-q", "-b", "main")
    dvc = str(Path(sys.executable).with_name("dvc"))
    run(top, dvc, "init", "-q")
    run(top, dvc, "repro", "-q")
    commit(top, "a run")
    return top


def run(top: Path, *words: str) -> None:
    """Run a program in the project; nothing of the machine's configuration of git or DVC counts."""
    quiet = {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(words, cwd=top, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def git(top: Path, *words: str) -> None:
    """Run git in the project."""
    run(top, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words)


def commit(top: Path, message: str) -> None:
    """Commit everything that is not ignored."""
    git(top, "add", "-A")
    git(top, "commit", "-qm", message)


def make_key(path: Path, passphrase: str | None = None) -> tuple[Path, Path]:
    """A pair of keys on P-256: private and public file."""
    key = ec.generate_private_key(ec.SECP256R1())
    hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        hidden = serialization.BestAvailableEncryption(passphrase.encode())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(private)
    path.chmod(0o600)
    path.with_suffix(".pub").write_bytes(public)
    return path, path.with_suffix(".pub")
