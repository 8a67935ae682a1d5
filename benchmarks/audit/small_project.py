"""A small project that is whole: git, DVC stages, a manifest and its images, a model, figures, approvals, a seal.

``build(root)`` takes some seconds, nearly all of them DVC's; a copy of it takes milliseconds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.audit.small_stage import MAKER
from cytoline.audit.approvals import approve
from cytoline.audit.policy import POLICY
from cytoline.audit.seal import make_seal
from cytoline.audit.signing import PRIVATE, PROJECT, PUBLIC, make_key
from cytoline.deid.review.chain import chained
from cytoline.deid.review.decisions import Decision

ROOT = Path(__file__).parents[2]
MODEL = "models/classifier"
PEOPLE = {"anna": "clinician", "ben": "quality"}
_DVC_YAML = """\
stages:
  anonymize:
    cmd: {python} make.py clean
    deps: [make.py]
    params: [images]
    outs: [data/clean]
  split:
    cmd: {python} make.py split
    deps: [make.py, data/clean]
    outs: [data/split]
  train:
    cmd: {python} make.py model
    deps: [make.py, data/clean, data/split]
    params: [seed]
    outs: [models/classifier]
  evaluate:
    cmd: {python} make.py metrics
    deps: [make.py, models/classifier]
    metrics:
      - metrics/classifier.json: {{cache: false}}
    outs:
      - metrics/cases.jsonl: {{cache: false}}
      - metrics/plots: {{cache: false}}
"""


def build(root: Path, images: int = 30, sealed: bool = True) -> Path:
    """Make it at ``root``, which must not be there; commit, approve and seal it."""
    (root / "data/review").mkdir(parents=True)
    (root / "approvals/keys").mkdir(parents=True)
    (root / ".dvc").mkdir()
    write = {
        "make.py": MAKER,
        "dvc.yaml": _DVC_YAML.format(python=f"{sys.executable} -I"),
        "params.yaml": f"images: {images}\nseed: 0\n",
        "requirements.lock": "numpy==2.0.0\nsafetensors==0.7.0\n",
        # What `dvc init` writes; every start of DVC costs a second or two.
        ".dvc/config": "[core]\n    analytics = false\n    autostage = false\n",
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".dvcignore": "",
        ".gitignore": ".cytoline/\n/data/clean\n/data/split\n/models/classifier\n",
        POLICY: (ROOT / POLICY).read_text(encoding="utf-8"),
        "data/review/decisions.jsonl": _decisions(),
    }
    for name, text in write.items():
        (root / name).write_text(text, encoding="utf-8")
    run(root, "git", "init", "--quiet", "--initial-branch=main")
    dvc(root, "repro", "--quiet")
    for name in (*PEOPLE, PROJECT):
        make_key(root / PRIVATE / f"{name}.pem", root / PUBLIC / f"{name}.pem")
    commit(root, "all that was made")
    for name, role in PEOPLE.items():
        approve(MODEL, role, "approval", name, root / PRIVATE / f"{name}.pem", root)
    commit(root, "approved")
    if sealed:
        make_seal(root)
        commit(root, "sealed")
    return root


def commit(root: Path, message: str) -> None:
    """Everything that git does not ignore, under a name that is nobody's."""
    run(root, "git", "add", "--all")
    who = ("-c", "user.name=cytoline", "-c", "user.email=cytoline@invalid", "-c", "commit.gpgsign=false")
    run(root, "git", *who, "commit", "--quiet", "--message", message)


def dvc(root: Path, *words: str) -> None:
    """DVC of this environment."""
    run(root, sys.executable, "-m", "dvc", *words)


def run(root: Path, *words: str) -> None:
    """A command that must succeed."""
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[:3]}: {done.stderr[-2000:]}")


def _decisions() -> str:
    fields = {"decision": "release", "reviewer": "b.m-2", "time": "2026-03-01T10:00:00Z", "reason": "no_identifier"}
    return chained([Decision.model_validate({"image": f"{number:032x}"} | fields) for number in range(8)])
