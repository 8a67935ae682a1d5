"""Which enlargement serves the classifier best: none, lanczos and compact, everything else being the same.

    dvc repro && python -m benchmarks.upscaling --seeds 3

Takes the patches, the split and the upscaler of a repository in which the pipeline has run, and in a temporary
folder enlarges the patches by each method, trains the classifier on them once per seed, in turn, and grades the
annotated cells.  The default of `upscale.method` is chosen by the validation figures; the test figures are what
it then brings.  Figures go to benchmarks/results/upscaling.json.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml
from sklearn.metrics import balanced_accuracy_score

from benchmarks.result import ROOT, Figure, current_commit, record
from cytoline.classification import load_classifier
from cytoline.command import run
from cytoline.errors import CytolineError
from cytoline.images import read_image
from cytoline.models import read_card
from cytoline.params import read_params
from cytoline.patches import read_patches
from cytoline.progress import Bar
from cytoline.shards import Shards

METHODS = ("none", "lanczos", "compact")
PARTS = ("val", "test")


class Place:
    """A folder from which stages see the repository's configs and results, but params and outs of their own."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.repository = repository
        (folder / "configs").symlink_to(repository / "configs")

    def write_params(self, method: str, seed: int) -> None:
        """The repository's params with this method and seed."""
        params = read_params(self.repository / "params.yaml")
        params["seed"] = seed
        params["upscale"] = {"method": method, "factor": params["upscaler"]["factor"], "file": ""}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def stage(self, name: str, **paths: Path) -> None:
        """Run one stage.  Raises ``CytolineError`` with its last lines if it fails."""
        options = [word for option, path in paths.items() for word in (f"--{option}", str(path))]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
        }
        done = subprocess.run(
            [sys.executable, "-m", f"stages.{name}", *options],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CytolineError(f"{name} failed: {done.stderr[-1500:]}", "see its last lines above")


def balanced_accuracy(upscaled: Path, classifier: Path, part: str) -> float:
    """Of the annotated cells of one part, ``background`` not being an answer."""
    cells = [item for item in read_patches(upscaled) if item.split == part and item.origin == "annotated"]
    if not cells:
        raise CytolineError(f"there is no annotated cell in the {part} part", "use a larger data set")
    model, shards = load_classifier(classifier), Shards(upscaled)
    columns = [number for number, name in enumerate(model.classes) if name != "background"]
    probabilities = model.predict([read_image(shards[item.file]) for item in cells])[:, columns]
    predicted = [model.classes[columns[best]] for best in np.argmax(probabilities, axis=1)]
    return float(balanced_accuracy_score([str(item.label) for item in cells], predicted))


def measure(repository: Path, folder: Path, seeds: int) -> dict[tuple[str, str], list[float]]:
    """(method, part) -> balanced accuracy per seed; the methods take turns within each seed."""
    place = Place(folder, repository)
    values: dict[tuple[str, str], list[float]] = {(method, part): [] for method in METHODS for part in PARTS}
    with Bar(seeds * len(METHODS), "classifiers trained") as bar:
        for seed in range(seeds):
            for method in METHODS:
                upscaled, classifier = folder / f"upscaled-{method}", folder / f"classifier-{method}-{seed}"
                place.write_params(method, seed)
                if not upscaled.exists():
                    patches, upscaler = repository / "data" / "patches", repository / "models" / "upscaler"
                    place.stage("upscale", patches=patches, upscaler=upscaler, out=upscaled)
                place.stage("train_classifier", upscaled=upscaled, split=repository / "data" / "split", out=classifier)
                for part in PARTS:
                    values[method, part].append(balanced_accuracy(upscaled, classifier, part))
                bar.advance(1, method=method, val=values[method, "val"][-1])
    return values


def figures(values: dict[tuple[str, str], list[float]], upscaler: Path, data: str) -> list[Figure]:
    """Medians over seeds with their range, and the network's own figures from its card."""
    rows = []
    for (method, part), measured in values.items():
        how = f"{data}, {part} patients, median over seeds, {min(measured):.3f} to {max(measured):.3f}"
        value = round(statistics.median(measured), 4)
        name = f"{data}_{method}_{part}_bacc"
        rows.append(Figure(name, value, "balanced accuracy", None, "", len(measured), how))
    card = read_card(upscaler).metrics
    for key, unit in (("psnr_gain", "dB"), ("ssim_gain", "SSIM")):
        if key in card:
            how = f"{data}, test patches, over the better of bicubic and Lanczos, 95 % interval over patients"
            how += f" {card[f'{key}_low']:.4f} to {card[f'{key}_high']:.4f}"
            name = f"{data}_compact_{key}"
            rows.append(Figure(name, round(card[key], 4), unit, 0.0, ">=", int(card["patches"]), how))
    return rows


def main(
    repository: Annotated[Path, typer.Option(help="a repository in which the pipeline has run")] = ROOT,
    data: Annotated[str, typer.Option(help="name of its data, the first word of each figure's name")] = "phantom",
    seeds: Annotated[int, typer.Option(min=1, help="classifiers trained per method")] = 3,
) -> None:
    """Compare the methods of enlargement by the classifier that learns from their patches."""
    repository, commit = repository.resolve(), current_commit()
    with tempfile.TemporaryDirectory() as folder:
        values = measure(repository, Path(folder), seeds)
    record("upscaling", figures(values, repository / "models" / "upscaler", data), commit)


if __name__ == "__main__":
    run(main)
