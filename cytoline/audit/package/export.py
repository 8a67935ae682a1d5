"""Writes a package: whole or not at all.  Each document may name the hash of those before it, never of later ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from cytoline import atomic
from cytoline.audit.compliance.resolver import resolve
from cytoline.audit.compliance.rows import frameworks
from cytoline.audit.compliance.soup import packages
from cytoline.audit.package import contents, layout, signature, validators
from cytoline.audit.package.bom import bom
from cytoline.audit.package.card import card
from cytoline.audit.package.crate import crate
from cytoline.audit.package.croissant import croissant
from cytoline.audit.package.dataset import Dataset
from cytoline.audit.package.figures import figures
from cytoline.audit.package.page import page
from cytoline.audit.package.release import Release, find
from cytoline.audit.package.reproduce import reproduce
from cytoline.audit.package.verify import verify
from cytoline.errors import CytolineError

Step = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What was written: files, bytes, id of the key that signed (None: unsigned), red rows."""

    release: Release
    files: int
    size: int
    key: str | None
    empty: int


def export(ref: str, folder: Path, key: Path | None, top: Path = Path(), step: Step = lambda _: None) -> Exported:
    """Write the package of the model ``ref`` in the place of ``folder``.

    ``key`` None leaves it unsigned.  Raises ``CytolineError`` where something is missing, where a content is not what
    its hash says, or where ``folder`` holds something that is no package.
    """
    refuse_foreign(folder)
    release = find(ref, top)
    signer = None if key is None else signature.private_key(key)
    with atomic.rebuilt_folder(folder) as made:
        if signer is not None:
            signature.write_public(signer, made)
        empty = _documents(release, made, step)
        step("validators")
        _validate(made)
        if key is not None:
            step("signature")
            signature.sign(made, key, str(release.name))
            if broken := verify(made, None):
                raise CytolineError(f"{broken[0].file} {broken[0].what}", "export again; if it stays, report it")
        sizes = [info.st_size for _, info in layout.walk(made)]
    public = folder / layout.PUBLIC_KEY
    return Exported(release, len(sizes), sum(sizes), signature.key_id(public) if signer is not None else None, empty)


def refuse_foreign(folder: Path) -> None:
    """Raise ``CytolineError`` where ``folder`` is something else than an older package, which is replaced."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise CytolineError(f"{folder} is no folder", "name a folder that does not exist yet")
    if folder.is_dir() and any(folder.iterdir()) and not layout.is_package(folder):
        raise CytolineError(f"{folder} is not empty and no package", "name a folder that does not exist yet")


def _documents(release: Release, made: Path, step: Step) -> int:
    """Every document but index and signature, in order; gives the number of red rows."""
    step("copies")
    data = Dataset(release)
    contents.copy(release, data, made)
    found = figures(made, str(release.card.get("stage")))
    software = packages(release.revision)
    step("compliance")
    resolved = resolve(frameworks(), release.revision, release.path)
    _put(made, layout.COMPLIANCE, layout.pretty([one.as_json() for one in resolved]))
    files = layout.index_of(made)
    digests = {name: str(facts["sha256"]) for name, facts in files.items()}
    lock = digests[f"{layout.PIPELINE}/requirements.lock"]
    step("documents")
    _put(made, layout.CARD, layout.pretty(card(release, data, found, digests)))
    _put(made, layout.REPRODUCE, reproduce(release, data, lock).encode())
    _put(made, layout.BOM, layout.pretty(bom(release, data, software, found, files)))
    _put(made, layout.CROISSANT, layout.pretty(croissant(data, files)))
    _put(made, layout.PAGE, page(release, data, found, resolved, software, layout.index_of(made)).encode())
    step("crate")
    files = layout.index_of(made)
    _put(made, layout.CRATE, layout.pretty(crate(release, files, metadata.version("dvc"))))
    index = {
        "format": layout.FORMAT,
        "version": layout.FORMAT_VERSION,
        "model": {
            "name": release.name,
            "path": release.path,
            "dvc": release.item.md5,
            "weights_sha256": release.weights_sha256,
            "commit": release.commit,
        },
        "files": layout.index_of(made),
    }
    _put(made, layout.INDEX, layout.pretty(index))
    return sum(one.count("empty") for one in resolved)


def _validate(made: Path) -> None:
    checks = {
        layout.CRATE: validators.crate_failures,
        layout.BOM: validators.bom_failures,
        layout.CROISSANT: validators.croissant_failures,
    }
    for name, check in checks.items():
        if failed := check(made):
            raise CytolineError(f"{name} does not validate: {failed[0]}", "this is a defect of cytoline; report it")


def _put(made: Path, name: str, content: bytes) -> None:
    (made / name).write_bytes(content)
