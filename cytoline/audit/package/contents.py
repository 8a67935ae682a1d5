"""Copies into a package: the model folder, manifests, metrics, what the pipeline is, approvals.  Byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cytoline.audit.package import layout
from cytoline.audit.package.dataset import CLEAN, DEID_LOG, Dataset
from cytoline.audit.package.release import MODEL_CARD, Release
from cytoline.errors import CytolineError
from cytoline.manifest import MANIFEST
from cytoline.splits import SPLIT_FILE

MANIFEST_COPY = f"{layout.DATA}/{MANIFEST}"
SPLIT_COPY = f"{layout.DATA}/{SPLIT_FILE}"
DEID_COPY = f"{layout.DATA}/deid-{DEID_LOG}"
MODEL_CARD_COPY = f"{layout.MODEL}/{MODEL_CARD}"
WORKFLOW = f"{layout.PIPELINE}/dvc.yaml"
_PIPELINE = ("dvc.yaml", "dvc.lock", "params.yaml", "requirements.lock", "requirements.in")
_APPROVALS = (".jsonl", ".yaml", ".pem")


def copy(release: Release, data: Dataset, folder: Path) -> None:
    """Write every copy below ``folder``.  Raises ``CytolineError`` where a content is not what its hash says."""
    _model(release, folder)
    write(folder, MANIFEST_COPY, data.manifest)
    write(folder, SPLIT_COPY, data.table)
    log = release.content(data.clean, DEID_LOG)
    if log is not None:
        write(folder, DEID_COPY, log)
    for name, content in release.metrics():
        write(folder, name, content)
    for name in _PIPELINE:
        found = release.revision.read(name)
        if found is None and name in ("dvc.yaml", "dvc.lock", "requirements.lock"):
            raise CytolineError(f"{name} is missing in {release.revision.name}", "export a state that has it")
        if found is not None:
            write(folder, f"{layout.PIPELINE}/{name}", found)
    for name in release.revision.files(layout.APPROVALS):
        found = release.revision.read(name) if name.endswith(_APPROVALS) else None
        if found is not None and b"PRIVATE KEY" not in found:
            write(folder, name, found)


def write(folder: Path, name: str, content: bytes) -> None:
    """One file; ``name`` comes from a listing and may be forged."""
    if not layout.is_safe(name):
        raise CytolineError("a name in a listing leads out of its folder", "restore dvc.lock and the cache")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _model(release: Release, folder: Path) -> None:
    stated = {**release.card["files"], MODEL_CARD: None}
    listing = release.listing(release.item) or {}
    if set(listing) != set(stated):
        odd = ", ".join(sorted(set(listing) ^ set(stated)))[:200]
        raise CytolineError(f"{release.path} and its card disagree about which files there are: {odd}", _again(release))
    for name, wanted in sorted(stated.items()):
        content = release.content(release.item, name)
        if content is None:
            raise CytolineError(f"DVC's cache lacks {release.path}/{name}", f"`dvc fetch {release.path}`")
        if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
            raise CytolineError(f"{release.path}/{name} is not the file that its card names", _again(release))
        write(folder, f"{layout.MODEL}/{name}", content)


def _again(release: Release) -> str:
    return f"`dvc checkout {release.path}`, or train it again with `dvc repro`"


__all__ = ["CLEAN", "DEID_COPY", "MANIFEST_COPY", "MODEL_CARD_COPY", "SPLIT_COPY", "WORKFLOW", "copy", "write"]
