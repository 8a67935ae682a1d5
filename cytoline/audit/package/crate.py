"""``ro-crate-metadata.json``: the run that made the model, as a Provenance Run Crate 0.5 on RO-Crate 1.1.

Source: https://www.researchobject.org/workflow-run-crate/profiles/provenance_run_crate/.  ``dvc.yaml`` is the workflow,
each stage a tool, each stage's run a CreateAction.  Data that is not in the package is a CreativeWork with DVC's hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from cytoline.audit.package import layout
from cytoline.audit.package.contents import MANIFEST_COPY, SPLIT_COPY, WORKFLOW
from cytoline.audit.package.release import Release
from cytoline.audit.revision import Item, LockedStage

RUN_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_DVC = "https://dvc.org/"
_FORMATS = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".yaml": "application/yaml",
    ".lock": "text/plain",
    ".in": "text/plain",
    ".html": "text/html",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".py": "text/x-python",
    ".pem": "application/x-pem-file",
    ".safetensors": "application/octet-stream",
}


def crate(release: Release, files: Mapping[str, Mapping[str, Any]], dvc_version: str) -> dict[str, Any]:
    """The document.  ``files``: name -> sha256 and size of every file that lies in the package by now."""
    made = ROCrate(version="1.1")
    made.metadata.extra_contexts.append(RUN_TERMS)
    _describe_root(made, release)
    held = {
        name: _add_file(made, name, facts) for name, facts in files.items() if not name.startswith(f"{layout.MODEL}/")
    }
    model = _add_model(made, release, files)
    places = _Places(made, release, held, model)
    workflow = _workflow(made, release, dvc_version)
    _actions(made, release, places, workflow, dvc_version)
    document: dict[str, Any] = made.metadata.generate()
    document["@graph"].sort(key=lambda entity: str(entity["@id"]))
    return document


class _Places:
    """The entity that stands for an out or a dep, made when it is first asked for."""

    def __init__(self, made: Any, release: Release, held: Mapping[str, Any], model: Any) -> None:
        self.made, self.held = made, held
        self.known: dict[str, Any] = {release.path: model}

    def of(self, item: Item) -> Any:
        if item.path not in self.known:
            copied = self.held.get(item.path) or self.held.get(f"{layout.PIPELINE}/{item.path}")
            self.known[item.path] = copied or self._absent(item)
        return self.known[item.path]

    def _absent(self, item: Item) -> Any:
        described = {
            "@type": "CreativeWork",
            "name": item.path,
            "identifier": f"md5:{item.md5}",
            "description": "not in this package; the identifier is DVC's hash of it",
        }
        entity = self.made.add(ContextEntity(self.made, f"#dvc-{item.path}", properties=described))
        part = {"data/clean": MANIFEST_COPY, "data/split": SPLIT_COPY}.get(item.path, "")
        if part in self.held:
            entity["hasPart"] = [self.held[part]]
        return entity


def _describe_root(made: Any, release: Release) -> None:
    made.name = f"{release.name}: model, lineage, evidence"
    made.description = str(release.card.get("intended_use") or release.name)
    made.datePublished = release.time
    made.license = "Apache-2.0"
    made.root_dataset["identifier"] = f"md5:{release.item.md5}"
    if release.commit:
        made.root_dataset["version"] = release.commit
    profiles = [
        made.add(ContextEntity(made, uri, properties={"@type": "CreativeWork", "name": name, "version": version}))
        for uri, (name, version) in _PROFILES.items()
    ]
    made.root_dataset["conformsTo"] = profiles


def _add_file(made: Any, name: str, facts: Mapping[str, Any]) -> Any:
    described = {"sha256": facts["sha256"], "contentSize": str(facts["size"]), "name": name}
    kind = _FORMATS.get(Path(name).suffix)
    if kind:
        described["encodingFormat"] = kind
    if name == WORKFLOW:
        described["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
    return made.add_file(dest_path=name, properties=described)


def _add_model(made: Any, release: Release, files: Mapping[str, Mapping[str, Any]]) -> Any:
    described = {
        "name": release.name,
        "description": str(release.card.get("intended_use") or release.name),
        "identifier": f"md5:{release.item.md5}",
        "version": str(release.card.get("version") or "0"),
    }
    folder = made.add_dataset(dest_path=f"{layout.MODEL}/", properties=described)
    for name, facts in files.items():
        if name.startswith(f"{layout.MODEL}/"):
            folder.append_to("hasPart", _add_file(made, name, facts))
    return folder


def _workflow(made: Any, release: Release, dvc_version: str) -> Any:
    language = {"@type": "ComputerLanguage", "name": "DVC pipeline", "url": {"@id": _DVC}, "version": dvc_version}
    workflow = made.dereference(WORKFLOW)
    workflow["name"] = "cytoline"
    workflow["description"] = "images in, a two-stage model out"
    workflow["version"] = release.commit or "not committed"
    workflow["programmingLanguage"] = made.add(ContextEntity(made, "#dvc-language", properties=language))
    made.mainEntity = workflow
    return workflow


def _actions(made: Any, release: Release, places: _Places, workflow: Any, dvc_version: str) -> None:
    engine_facts = {"@type": "SoftwareApplication", "name": "DVC", "url": _DVC, "softwareVersion": dvc_version}
    engine = made.add(ContextEntity(made, f"https://pypi.org/project/dvc/{dvc_version}/", properties=engine_facts))
    whole = _action(made, "#run", "the whole pipeline as dvc.lock records it", workflow)
    controls, steps, tools = [], [], []
    for number, stage in enumerate(release.stages, start=1):
        tool = _tool(made, stage)
        step = _add(made, f"{WORKFLOW}#{stage.name}", "HowToStep", name=stage.name, position=str(number))
        step["workExample"] = tool
        action = _stage_action(made, release, stage, tool, places)
        control = _add(made, f"#control-{stage.name}", "ControlAction", name=f"DVC ran {stage.name}")
        control["instrument"], control["object"] = step, action
        tools.append(tool)
        steps.append(step)
        controls.append(control)
    workflow["hasPart"], workflow["step"] = tools, steps
    whole["object"] = [places.of(dep) for stage in release.stages[:1] for dep in _data(stage)]
    whole["result"] = [made.dereference(f"{layout.MODEL}/")]
    organised = _add(made, "#organize", "OrganizeAction", name="DVC ran the pipeline")
    organised["instrument"], organised["object"], organised["result"] = engine, controls, whole


def _stage_action(made: Any, release: Release, stage: LockedStage, tool: Any, places: _Places) -> Any:
    action = _action(made, f"#run-{stage.name}", f"run of {stage.name}", tool)
    action["description"] = stage.command
    knobs = [
        _add(made, f"#param-{stage.name}-{key}", "PropertyValue", name=key, value=_plain(value))
        for values in stage.params.values()
        for key, value in sorted(values.items())
    ]
    action["object"] = [places.of(dep) for dep in _data(stage)] + knobs
    action["result"] = [places.of(out) for out in stage.outs]
    started, ended = release.ended.get(stage.name, (None, None))
    if started:
        action["startTime"] = started
    if ended:
        action["endTime"] = ended
    return action


def _action(made: Any, name: str, title: str, instrument: Any) -> Any:
    action = _add(made, name, "CreateAction", name=title)
    action["instrument"] = instrument
    action["actionStatus"] = {"@id": "http://schema.org/CompletedActionStatus"}
    made.root_dataset.append_to("mentions", action)
    return action


def _tool(made: Any, stage: LockedStage) -> Any:
    code = [dep for dep in stage.deps if dep.path.endswith(".py")]
    tool = _add(made, f"#stage-{stage.name}", "SoftwareApplication", name=f"stages.{stage.name}")
    tool["softwareVersion"] = f"{len(code)} files of code, each by its hash in {layout.PIPELINE}/dvc.lock"
    return tool


def _data(stage: LockedStage) -> list[Item]:
    """What a stage read that is no code: data, models, configuration, the lock file."""
    return [dep for dep in stage.deps if not dep.path.endswith(".py")]


def _add(made: Any, identifier: str, kind: str, **properties: str) -> Any:
    return made.add(ContextEntity(made, identifier, properties={"@type": kind, **properties}))


def _plain(value: object) -> str:
    return layout.pretty(value).decode().strip() if isinstance(value, dict | list) else str(value)
