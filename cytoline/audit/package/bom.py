"""``sbom.cdx.json``: a CycloneDX 1.6 bill of materials for machine learning (ECMA-424).

Written as plain JSON: the object model of ``cyclonedx-python-lib`` drops ``modelCard`` and ``formulation``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from cyclonedx.spdx import is_expression, is_supported_id

from cytoline.audit.compliance.soup import NOT_INSTALLED, NOT_STATED, Package, canonical
from cytoline.audit.package.dataset import Dataset
from cytoline.audit.package.figures import Figure
from cytoline.audit.package.release import WEIGHTS, Release
from cytoline.audit.revision import Item, LockedStage

_NAMESPACE = uuid.UUID("6f0f6f0e-8a43-5d0c-9a53-0f4c8f1c7c11")
_TASKS = {"classifier": "image-classification", "detector": "object-detection", "upscaler": "image-to-image"}


def bom(
    release: Release,
    data: Dataset,
    packages: Iterable[Package],
    found: Iterable[Figure],
    files: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The document; ``files`` is name -> sha256 and size of what lies in the package by now."""
    libraries = [_library(one) for one in packages]
    main = _model(release, data, tuple(found), files)
    others = _others(release, main["bom-ref"])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, release.item.md5 + (release.commit or ''))}",
        "version": 1,
        "metadata": {
            "timestamp": release.time.isoformat().replace("+00:00", "Z"),
            "tools": {"components": [{"type": "application", "name": "cytoline", "version": "0.1.0"}]},
            "component": main,
        },
        "components": [*others, *libraries],
        "dependencies": [
            {"ref": main["bom-ref"], "dependsOn": sorted(one["bom-ref"] for one in [*others, *libraries])}
        ],
        "formulation": [_formula(release)],
    }


def _library(one: Package) -> dict[str, Any]:
    purl = f"pkg:pypi/{canonical(one.name)}@{one.version.replace('+', '%2B')}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": one.name,
        "version": one.version,
        "purl": purl,
        "properties": [{"name": "cytoline:purpose", "value": one.purpose}],
    }
    if one.licence not in (NOT_STATED, NOT_INSTALLED):
        component["licenses"] = [_licence(one.licence)]
    return component


def _licence(text: str) -> dict[str, Any]:
    if is_supported_id(text):
        return {"license": {"id": text}}
    return {"expression": text} if is_expression(text) else {"license": {"name": text}}


def _model(
    release: Release, data: Dataset, found: tuple[Figure, ...], files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    card = release.card
    stage = str(card.get("stage"))
    return {
        "type": "machine-learning-model",
        "bom-ref": _ref(release.item),
        "name": release.name,
        "version": str(card.get("version") or "0"),
        "description": str(card.get("intended_use") or ""),
        "hashes": [{"alg": "SHA-256", "content": release.weights_sha256}],
        "properties": [
            {"name": "cytoline:path", "value": release.path},
            {"name": "cytoline:dvc", "value": release.item.md5},
            {"name": "cytoline:commit", "value": release.commit or "not committed"},
            {"name": "cytoline:file", "value": f"model/{WEIGHTS}"},
            *(
                {"name": f"cytoline:sha256:{name}", "value": str(facts["sha256"])}
                for name, facts in sorted(files.items())
            ),
        ],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": _TASKS.get(stage, stage),
                "modelArchitecture": str((card.get("settings") or {}).get("config") or stage),
                "datasets": [{"ref": _ref(item)} for item in (data.clean, data.split)],
                "inputs": [{"format": _port(port)} for port in card.get("inputs") or []],
                "outputs": [{"format": _port(port)} for port in card.get("outputs") or []],
            },
            "quantitativeAnalysis": {"performanceMetrics": [_performance(one) for one in found]},
            "considerations": {
                "useCases": [str(card.get("intended_use") or "")],
                "technicalLimitations": [str(limit) for limit in card.get("limits") or []],
            },
        },
    }


def _performance(one: Figure) -> dict[str, Any]:
    # Of "per_class.HSIL.sensitivity" the first words are the slice of the data, the last is the measure.
    where, _, measure = one.key.rpartition(".")
    entry: dict[str, Any] = {"type": measure, "value": repr(one.value), "slice": f"{one.file} {where}".strip()}
    if one.low is not None and one.high is not None:
        entry["confidenceInterval"] = {"lowerBound": repr(one.low), "upperBound": repr(one.high)}
    return entry


def _port(port: Mapping[str, Any]) -> str:
    shape = " x ".join(str(size) for size in port.get("shape") or [])
    return f"{port.get('name')}: {port.get('dtype')} {shape}; {port.get('meaning')}"


def _others(release: Release, main: str) -> list[dict[str, Any]]:
    """Every other out and outer input of the lineage: models as models, the rest as data; each once."""
    found: dict[str, dict[str, Any]] = {}
    for stage in release.stages:
        for item in (*_inputs(stage), *stage.outs):
            if _ref(item) != main:
                found.setdefault(_ref(item), _component(item))
    return [found[name] for name in sorted(found)]


def _component(item: Item) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model" if item.path.startswith("models/") else "data",
        "bom-ref": _ref(item),
        "name": item.path,
        "version": item.md5,
        "properties": [{"name": "cytoline:dvc", "value": item.md5}],
    }
    if component["type"] == "data":
        kind = "dataset" if item.path.startswith("data/") else "configuration"
        component["data"] = [{"type": kind, "name": item.path}]
    else:
        component["modelCard"] = {"modelParameters": {"approach": {"type": "supervised"}}}
    return component


def _formula(release: Release) -> dict[str, Any]:
    tasks = [_task(stage) for stage in release.stages]
    return {
        "bom-ref": "formula",
        "workflows": [
            {
                "bom-ref": "workflow",
                "uid": "dvc.lock",
                "name": "dvc repro",
                "description": "the stages of dvc.lock that led to the model and that measured it, in order",
                "taskTypes": ["build", "test"],
                "tasks": tasks,
            }
        ],
    }


def _task(stage: LockedStage) -> dict[str, Any]:
    code = [dep for dep in stage.deps if dep.path.endswith(".py")]
    params = {key: value for values in stage.params.values() for key, value in values.items()}
    return {
        "bom-ref": f"task-{stage.name}",
        "uid": stage.name,
        "name": stage.name,
        "taskTypes": ["test" if any(out.path.startswith("metrics") for out in stage.outs) else "build"],
        "steps": [{"name": stage.name, "commands": [{"executed": stage.command}]}],
        "inputs": [{"resource": {"ref": _ref(dep)}} for dep in _inputs(stage)],
        "outputs": [{"type": "artifact", "resource": {"ref": _ref(out)}} for out in stage.outs],
        "properties": [
            *({"name": f"cytoline:param:{key}", "value": str(value)} for key, value in sorted(params.items())),
            *({"name": f"cytoline:code:{dep.path}", "value": f"md5:{dep.md5}"} for dep in code),
        ],
    }


def _inputs(stage: LockedStage) -> list[Item]:
    return [dep for dep in stage.deps if not dep.path.endswith(".py")]


def _ref(item: Item) -> str:
    return f"dvc:{item.path}@{item.md5}"
