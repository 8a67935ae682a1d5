"""The training itself: which fields, which model, how long, and what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from pydantic import Field

from cytoline import __version__, openmm
from cytoline.errors import CytolineError
from cytoline.manifest import Record, read_manifest
from cytoline.params import load_seed, load_taxonomy_name
from cytoline.splits import read_split
from cytoline.taxonomy import Taxonomy

openmm.register()

from mmengine.config import Config  # noqa: E402  (MMCV's ops must be in place before)

from cytoline import models, pretrained, tracking  # noqa: E402
from cytoline.compute import ComputeParams, is_chief, prepare_torch  # noqa: E402
from cytoline.provenance import dvc_digest  # noqa: E402
from cytoline.training import Trained, build_model, fingerprint, train, versions  # noqa: E402
from cytoline.training_params import TrainingParams  # noqa: E402

with openmm.quiet():
    from stages.train_detector.fields import rows_of

CONFIGS = Path("configs/detector")
RESUME = Path(".cytoline/resume")
Rows = list[dict[str, Any]]


class DetectorParams(TrainingParams, prefix="detector"):
    """What the detector is and how it is trained; the comments in params.yaml say why."""

    classes: Literal["cell", "taxonomy"]
    input_size: Annotated[list[int], Field(min_length=2, max_length=2)]


def main(
    clean: Annotated[Path, typer.Option(help="clean images and their manifest")],
    split: Annotated[Path, typer.Option(help="which patient is in which part")],
    augmented: Annotated[Path, typer.Option(help="augmented copies of fields, in shards")],
    out: Annotated[Path, typer.Option(help="the model folder to write")],
) -> None:
    """Train the detector on annotated fields and keep the weights that were best on validation."""
    params, seed = DetectorParams.load(), load_seed()
    classes = _classes(params)
    train_rows, val_rows = _fields(clean, split, augmented, classes)
    config = _config(params, len(classes))
    inputs = {"clean": clean, "split": split, "augmented": augmented}
    origins = {name: dvc_digest(path) for name, path in inputs.items()}
    if not train_rows:
        _write_untrained(out, config, params, classes, seed, origins, "there are no annotated fields to train on")
        return
    if not val_rows:
        raise CytolineError(
            "no annotated field is in the validation part", "add patients, or raise `split.val` in params.yaml"
        )
    prepare_torch(seed, ComputeParams.load().threads)
    model = build_model("mmdet", config)
    origin = pretrained.initialise(model, params.config, params.weights)
    described = {**params.model_dump(), "seed": seed}
    if origin is not None:
        origins[origin.name] = origin.digest
    made_of = fingerprint(described | origins, config, classes, inputs.values(), Path(__file__))
    with tracking.stage_run("train_detector", described, inputs) as run:
        trained = train(
            "mmdet",
            model,
            config,
            _data("train", train_rows, classes, config),
            _data("test", val_rows, classes, config),
            {"type": "FieldAP"},
            params.schedule("fields/ap50", seed),
            RESUME / f"train_detector-{made_of}",
            run.log_epoch,
        )
        if not is_chief():
            return
        _write(out, trained, config, params, classes, seed, (train_rows, val_rows), origins)
        run.log_model(out, "cytoline-detector")


def _classes(params: DetectorParams) -> tuple[str, ...]:
    if params.classes == "cell":
        return ("cell",)
    return Taxonomy.load(load_taxonomy_name()).classes


def _fields(clean: Path, split: Path, augmented: Path, classes: tuple[str, ...]) -> tuple[Rows, Rows]:
    parts = read_split(split)
    copies = [record for record in read_manifest(augmented) if _usable(record)]
    fields = [record for record in read_manifest(clean) if _usable(record)]
    in_part = {
        part: [record for record in fields if parts[record.image_id] == part] for part in ("train", "val", "test")
    }
    # Copies carry their original's patient; which part that is stands in the split, never in the copy.
    part_of_patient = {record.patient: parts[record.image_id] for record in fields}
    wanted = {
        part: rows_of(in_part[part], classes, folder=clean)
        + rows_of([copy for copy in copies if part_of_patient[copy.patient] == part], classes, shards=augmented)
        for part in ("train", "val")
    }
    return wanted["train"], wanted["val"]


def _usable(record: Record) -> bool:
    return record.role == "field" and record.labelled


def _config(params: DetectorParams, classes: int) -> Any:
    config = params.read_config(CONFIGS)
    size = tuple(params.input_size)
    for step in [*config.train_pipeline, *config.test_pipeline]:
        if step["type"] in {"RandomResize", "Resize"}:
            step["scale"] = size
        elif step["type"] == "RandomCrop":
            step["crop_size"] = size
        elif step["type"] == "Pad":
            step["size"] = size
    config.input_size = size
    head = config.model.get("bbox_head") or config.model.roi_head.bbox_head
    head.num_classes = classes
    return config


def _data(pipeline: str, rows: Rows, classes: tuple[str, ...], config: Any) -> dict[str, Any]:
    return {
        "dataset": {
            "type": "FieldDataset",
            "rows": rows,
            "classes": classes,
            "pipeline": config[f"{pipeline}_pipeline"],
            "test_mode": pipeline == "test",
            "filter_cfg": {"filter_empty_gt": False},
        },
        "sampler": {"type": "DefaultSampler", "shuffle": pipeline == "train"},
        "collate_fn": {"type": "pseudo_collate"},
    }


def _write(
    out: Path,
    trained: Trained,
    config: Any,
    params: DetectorParams,
    classes: tuple[str, ...],
    seed: int,
    rows: tuple[Rows, Rows],
    origins: dict[str, str],
) -> None:
    side = max(max(row["height"], row["width"]) for row in rows[0])
    figures: dict[str, float] = {
        "val_ap50": round(trained.best_metric, 6),
        "best_epoch": trained.best_epoch,
        "epochs_run": len(trained.history),
        "train_fields": len(rows[0]),
        "val_fields": len(rows[1]),
    }
    card = _card(params, classes, seed, side, origins, figures, None)
    models.save_model(out, trained.state, _model_config(config), card, trained.history)


def _write_untrained(
    out: Path,
    config: Any,
    params: DetectorParams,
    classes: tuple[str, ...],
    seed: int,
    origins: dict[str, str],
    reason: str,
) -> None:
    """Single cells (cells-folders) need no detector; the folder says so, and the stages after it go on."""
    card = _card(params, classes, seed, max(params.input_size), origins, {}, reason)
    models.save_model(out, {"none": torch.zeros(1)}, _model_config(config), card, [])


def _card(
    params: DetectorParams,
    classes: tuple[str, ...],
    seed: int,
    field_side: int,
    origins: dict[str, str],
    figures: dict[str, float],
    untrained: str | None,
) -> models.ModelCard:
    return models.ModelCard(
        name="cytoline-detector",
        version=__version__,
        stage="detector",
        intended_use="Research: find cells in cytology fields like those it was trained on. Not for diagnosis.",
        limits=(
            "Judged only on the sources named in training_data; other stains, scanners and magnifications are unknown.",
            "A field far larger than field_side_px is searched in overlapping tiles of that size.",
        ),
        inputs=(
            models.Port(
                name="field", shape=("height", "width", 3), dtype="uint8", range=(0, 255), meaning="RGB pixels"
            ),
        ),
        outputs=(
            models.Port(name="boxes", shape=("n", 4), dtype="float64", meaning="x, y, width, height in pixels"),
            models.Port(name="scores", shape=("n",), dtype="float64", range=(0, 1), meaning="confidence"),
        ),
        classes=classes,
        settings={"input_size": list(params.input_size), "field_side_px": field_side, "config": params.config},
        training_data=origins,
        metrics=figures,
        versions=versions(),
        seed=seed,
        untrained=untrained,
    )


def _model_config(config: Any) -> str:
    return str(Config({"model": config.model}).pretty_text)
