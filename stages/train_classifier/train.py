"""The training itself: which patches, which model, how long, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pydantic import Field

from cytoline import __version__, openmm
from cytoline.errors import CytolineError
from cytoline.params import load_seed, load_taxonomy_name
from cytoline.patches import BACKGROUND, PatchRecord, read_patches
from cytoline.shards import Shards
from cytoline.splits import read_split
from cytoline.taxonomy import Taxonomy

openmm.register()

from mmengine.config import Config  # noqa: E402  (MMCV's ops must be in place before)

from cytoline import models, pretrained, tracking  # noqa: E402
from cytoline.classification import VIEWS, load_classifier  # noqa: E402
from cytoline.compute import ComputeParams, is_chief, prepare_torch  # noqa: E402
from cytoline.images import read_image  # noqa: E402
from cytoline.provenance import dvc_digest  # noqa: E402
from cytoline.training import Trained, build_model, fingerprint, train, versions  # noqa: E402
from cytoline.training_params import TrainingParams  # noqa: E402
from stages.train_classifier.calibrate import fit_temperature  # noqa: E402
from stages.train_classifier.cells import rows_of  # noqa: E402
from stages.train_classifier.loss import drawn_shares  # noqa: E402

CONFIGS = Path("configs/classifier")
RESUME = Path(".cytoline/resume")
Rows = list[dict[str, Any]]


class ClassifierParams(TrainingParams, prefix="classifier"):
    """What the classifier is and how it is trained; the comments in params.yaml say why."""

    batch: Annotated[int, Field(ge=2)]
    background: bool
    input_size: Annotated[int, Field(ge=32)]
    views: Annotated[int, Field(ge=1, le=VIEWS)]


def main(
    upscaled: Annotated[Path, typer.Option(help="enlarged patches, in shards")],
    split: Annotated[Path, typer.Option(help="which patient is in which part")],
    out: Annotated[Path, typer.Option(help="the model folder to write")],
) -> None:
    """Train the classifier on train patches, choose the epoch and the temperature on validation patches."""
    params, seed = ClassifierParams.load(), load_seed()
    taxonomy = Taxonomy.load(load_taxonomy_name())
    train_cells, val_cells = _cells(upscaled, split)
    classes = _classes(params, taxonomy, train_cells)
    train_rows, val_rows = rows_of(train_cells, classes, upscaled), rows_of(val_cells, classes, upscaled)
    _require(train_rows, "train")
    _require(val_rows, "val")
    config = _config(params, len(classes))
    prepare_torch(seed, ComputeParams.load().threads)
    text = str(Config({"model": config.model}).pretty_text)
    _adjust(config, drawn_shares([row["gt_label"] for row in train_rows], len(classes)))
    model = build_model("mmpretrain", config)
    origin = pretrained.initialise(model, params.config, params.weights)
    described = {**params.model_dump(), "seed": seed}
    inputs = {"upscaled": upscaled, "split": split}
    origins = {name: dvc_digest(path) for name, path in inputs.items()}
    if origin is not None:
        origins[origin.name] = origin.digest
    made_of = fingerprint(described | origins, config, classes, inputs.values(), Path(__file__))
    with tracking.stage_run("train_classifier", described, inputs) as run:
        trained = train(
            "mmpretrain",
            model,
            config,
            _data("train", train_rows, classes, config, {"type": "SquareRootSampler", "seed": seed}),
            _data("test", val_rows, classes, config, {"type": "DefaultSampler", "shuffle": False}),
            {"type": "CellAccuracy"},
            params.schedule("cells/choice", seed),
            RESUME / f"train_classifier-{made_of}",
            run.log_epoch,
        )
        if not is_chief():
            return
        method = json.loads((upscaled / "method.json").read_text(encoding="utf-8"))
        card = _card(params, classes, seed, method, trained, (train_rows, val_rows), origins)
        models.save_model(out, trained.state, text, card, trained.history)
        temperature = _temperature(out, val_rows, Shards(upscaled))
        card = card.model_copy(update={"temperature": round(temperature, 6)})
        models.save_model(out, trained.state, text, card, trained.history)
        run.log_model(out, "cytoline-classifier")


def _cells(upscaled: Path, split: Path) -> tuple[list[PatchRecord], list[PatchRecord]]:
    """Train and validation patches whose label is known; the split table, not the patch, says which part."""
    parts = read_split(split)
    records = [record for record in read_patches(upscaled) if record.origin in {"annotated", "background"}]
    train_cells = [record for record in records if parts[record.image_id] == "train"]
    return train_cells, [record for record in records if parts[record.image_id] == "val"]


def _classes(params: ClassifierParams, taxonomy: Taxonomy, cells: list[PatchRecord]) -> tuple[str, ...]:
    missed = any(record.origin == "background" for record in cells)
    return (*taxonomy.classes, BACKGROUND) if params.background and missed else taxonomy.classes


def _require(rows: Rows, part: str) -> None:
    if not rows:
        raise CytolineError(
            f"no labelled cell is in the {part} part",
            "add annotated patients, or change the fractions under `split:` in params.yaml",
        )


def _config(params: ClassifierParams, classes: int) -> Any:
    config = params.read_config(CONFIGS)
    for step in [*config.train_pipeline, *config.test_pipeline]:
        if step["type"] == "RandomResizedCrop":
            step["scale"] = params.input_size
        elif step["type"] == "Resize":
            step["scale"] = (params.input_size, params.input_size)
    config.input_size = params.input_size
    config.model.head.num_classes = classes
    # The preprocessor one-hot encodes and needs to know how many there are.
    config.model.data_preprocessor.num_classes = classes
    return config


def _adjust(config: Any, shares: list[float]) -> None:
    """Train with the adjusted loss; the exported configuration keeps the plain one: it needs nothing of this room."""
    config.model.head.loss = {**config.model.head.loss, "type": "LogitAdjustedLoss", "shares": shares}


def _data(pipeline: str, rows: Rows, classes: tuple[str, ...], config: Any, sampler: dict[str, Any]) -> dict[str, Any]:
    dataset = {
        "type": "CellDataset",
        "rows": rows,
        "classes": classes,
        "pipeline": config[f"{pipeline}_pipeline"],
        "test_mode": pipeline == "test",
    }
    return {"dataset": dataset, "sampler": sampler, "collate_fn": {"type": "default_collate"}}


def _temperature(folder: Path, rows: Rows, shards: Shards) -> float:
    """Fit on the exported folder, so that what is calibrated is what is later loaded (its temperature is 1)."""
    classifier = load_classifier(folder)
    probabilities = classifier.predict([read_image(shards[row["name"]]) for row in rows])
    labels = np.array([row["gt_label"] for row in rows], dtype=np.int64)
    return fit_temperature(np.log(probabilities.clip(1e-12)), labels)


def _card(
    params: ClassifierParams,
    classes: tuple[str, ...],
    seed: int,
    method: dict[str, Any],
    trained: Trained,
    rows: tuple[Rows, Rows],
    origins: dict[str, str],
) -> models.ModelCard:
    best = trained.history[trained.best_epoch - 1]
    return models.ModelCard(
        name="cytoline-classifier",
        version=__version__,
        stage="classifier",
        intended_use="Research: grade single cells cut from fields like those it was trained on. Not for diagnosis.",
        limits=(
            "Judged only on the sources named in training_data; other stains, scanners and magnifications are unknown.",
            "Every patch gets one of the classes: what is no cell at all is graded too.",
        ),
        inputs=(
            models.Port(
                name="patch",
                shape=("height", "width", 3),
                dtype="uint8",
                range=(0, 255),
                meaning="RGB pixels around one cell, enlarged as settings.upscale says",
            ),
        ),
        outputs=(
            models.Port(
                name="probabilities",
                shape=("n", len(classes)),
                dtype="float64",
                range=(0, 1),
                meaning="rows sum to 1; as if all classes were equally common; temperature-calibrated on validation",
            ),
        ),
        classes=classes,
        settings={
            "input_size": params.input_size,
            "views": params.views,
            "upscale": method,
            "config": params.config,
        },
        training_data=origins,
        metrics={
            "val_balanced_accuracy": best["val_balanced_accuracy"],
            "best_epoch": trained.best_epoch,
            "epochs_run": len(trained.history),
            "train_cells": len(rows[0]),
            "val_cells": len(rows[1]),
        },
        versions=versions(),
        seed=seed,
        temperature=1.0,
    )
