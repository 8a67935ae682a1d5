"""Do the documents of a package speak of the same files?  Each names hashes; every one is compared with the index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cytoline.audit.package import layout
from cytoline.audit.package.contents import MANIFEST_COPY, MODEL_CARD_COPY, SPLIT_COPY
from cytoline.audit.package.layout import Finding
from cytoline.audit.package.release import WEIGHTS
from cytoline.errors import CytolineError

_HASHED = "cytoline:sha256:"


def disagreements(folder: Path, index: Mapping[str, Any]) -> list[Finding]:
    """Where two documents contradict each other; a document of an unexpected shape is a finding, too."""
    files = {name: str(facts["sha256"]) for name, facts in index["files"].items()}
    checks = (
        (MODEL_CARD_COPY, _model),
        (layout.CARD, _card),
        (layout.CRATE, _crate),
        (layout.BOM, _bom),
        (layout.CROISSANT, _croissant),
    )
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check(layout.read_json(folder / name), files, index["model"])
        except CytolineError as error:
            found.append(Finding(name, error.cause))
        except (KeyError, TypeError, AttributeError, ValueError):
            found.append(Finding(name, "has not the form that `cytoline audit export` writes"))
    return found + list(_tables(folder))


def _model(card: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Finding]:
    for name, wanted in card["files"].items():
        if files.get(f"{layout.MODEL}/{name}") != wanted:
            yield Finding(MODEL_CARD_COPY, f"names another {name} than {layout.MODEL}/{name}", f"files.{name}")
    if card["files"].get(WEIGHTS) != model["weights_sha256"]:
        yield Finding(layout.INDEX, "names other weights than the model's card", "model.weights_sha256")


def _card(card: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Finding]:
    for key, value in card["identity"].items():
        if key in model and model[key] != value:
            yield Finding(layout.CARD, f"disagrees with {layout.INDEX}", f"identity.{key}")
    for number, one in enumerate(card["figures"]):
        if files.get(one["file"]) != one["sha256"]:
            yield Finding(layout.CARD, f"quotes another {one['file']}", f"figures.{number}")


def _crate(crate: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Finding]:
    entities = {str(one["@id"]): one for one in crate["@graph"]}
    described = {name: one for name, one in entities.items() if "sha256" in one}
    for name, one in described.items():
        if files.get(name) != one["sha256"]:
            yield Finding(layout.CRATE, f"names another {name}", name)
    for name in sorted(set(files) - set(described) - {layout.CRATE}):
        yield Finding(layout.CRATE, f"does not describe {name}", name)
    if entities["./"].get("identifier") != f"md5:{model['dvc']}":
        yield Finding(layout.CRATE, f"speaks of another model than {layout.INDEX}", "./")


def _bom(bom: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Finding]:
    main = bom["metadata"]["component"]
    if [one["content"] for one in main["hashes"]] != [model["weights_sha256"]]:
        yield Finding(layout.BOM, f"names other weights than {layout.INDEX}", "metadata.component.hashes")
    stated = {one["name"]: one["value"] for one in main["properties"]}
    for name, value in stated.items():
        if name.startswith(_HASHED) and files.get(name.removeprefix(_HASHED)) != value:
            yield Finding(layout.BOM, f"names another {name.removeprefix(_HASHED)}", name)
    if stated.get("cytoline:dvc") != model["dvc"]:
        yield Finding(layout.BOM, f"speaks of another model than {layout.INDEX}", "metadata.component.properties")


def _croissant(document: Any, files: Mapping[str, str], model: Mapping[str, Any]) -> Iterator[Finding]:
    stated = {one["contentUrl"]: one["sha256"] for one in document["distribution"]}
    for name in (MANIFEST_COPY, SPLIT_COPY):
        if stated.get(name) != files.get(name):
            yield Finding(layout.CROISSANT, f"names another {name}", "distribution")


def _tables(folder: Path) -> Iterator[Finding]:
    """Both tables must name the same images (the listings behind the folders' hashes are not in the package)."""
    images = _ids(folder / MANIFEST_COPY)
    parts = _ids(folder / SPLIT_COPY)
    if images is None or parts is None or images != parts:
        yield Finding(SPLIT_COPY, f"and {MANIFEST_COPY} do not name the same images")


def _ids(path: Path) -> str | None:
    """A hash of the image ids in order; None where a line is no record."""
    digest = hashlib.sha256()
    try:
        for line in path.read_bytes().split(b"\n"):
            if line:
                digest.update(str(layout.parse(line)["image_id"]).encode() + b"\n")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return digest.hexdigest()
