"""``model_card.json`` of a package: the model's own card, with what it is, what it learned from and how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cytoline.audit.package.dataset import Dataset
from cytoline.audit.package.figures import Figure
from cytoline.audit.package.release import Release


def card(release: Release, data: Dataset, found: Iterable[Figure], digests: Mapping[str, str]) -> dict[str, Any]:
    """``digests`` is name -> sha256 of the files that already lie in the package."""
    return {
        "identity": {
            "name": release.name,
            "version": release.card.get("version"),
            "path": release.path,
            "dvc": release.item.md5,
            "weights_sha256": release.weights_sha256,
            "commit": release.commit,
        },
        "card": dict(release.card),
        "data": {
            "clean": release_digest(data.clean.md5),
            "split": release_digest(data.split.md5),
            "parts": {
                part.name: {"patients": part.patients, "images": part.images, "annotations": part.annotations}
                for part in data.parts
            },
            "sources": [
                {
                    "name": one.name,
                    "images": one.images,
                    "patients": one.patients,
                    "license": one.licence,
                    "legal_basis": one.legal_basis,
                    "organ": one.organ,
                    "stain": one.stain,
                }
                for one in data.sources
            ],
        },
        "figures": [
            {
                "figure": one.key,
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "file": one.file,
                "sha256": digests[one.file],
            }
            for one in found
        ],
        "lineage": [
            {"stage": stage.name, "outs": {out.path: release_digest(out.md5) for out in stage.outs}}
            for stage in release.stages
        ],
    }


def release_digest(md5: str) -> str:
    """DVC's hash with its kind in front."""
    return f"md5:{md5}"
