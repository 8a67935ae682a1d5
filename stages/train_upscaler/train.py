"""The training itself: the network, its schedule, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import typer
from pydantic import Field
from torch import Tensor

from cytoline import __version__, models, tracking
from cytoline.compute import ComputeParams, has_fast_bf16, prepare_torch
from cytoline.errors import CytolineError
from cytoline.params import Params, load_seed
from cytoline.patches import read_patches
from cytoline.progress import Bar
from cytoline.provenance import dvc_digest
from cytoline.shards import Shards
from cytoline.upscaling import BORDER, Network
from stages.train_upscaler.measure import compare, score
from stages.train_upscaler.network import CARRIED, new_network
from stages.train_upscaler.samples import Cell, choose, degrade, load, mean_colour, random_squares

CHECKS = 8
"""How often the network is judged on validation patches; the best of these is kept."""

JUDGED = 200
"""Most val and test patches to judge by: the intervals are narrow by then."""


class UpscalerParams(Params, prefix="upscaler"):
    """What the network is and how long it learns; the comments in params.yaml say why."""

    factor: Literal[2, 4]
    features: Annotated[int, Field(gt=CARRIED, le=256)]
    blocks: Annotated[int, Field(ge=1, le=64)]
    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    patch_px: Annotated[int, Field(ge=48, le=512, multiple_of=4)]
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    max_patches: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Cells:
    """Patches by what they are for."""

    train: list[Cell]
    val: list[Cell]
    test: list[Cell]


@dataclass(frozen=True)
class Trained:
    """The best weights and how they came about."""

    state: dict[str, Tensor]
    history: list[dict[str, float]]
    best_psnr: float | None


def load_cells(folder: Path, limit: int) -> Cells:
    """Annotated patches of all three parts.  Raises ``CytolineError`` if there is nothing to learn from."""
    patches, shards = read_patches(folder), Shards(folder)
    limits = {"train": limit, "val": JUDGED, "test": JUDGED}
    parts = {part: load(choose(patches, part, most), shards) for part, most in limits.items()}
    if not parts["train"]:
        raise CytolineError(
            "no annotated patch of at least 16 px is in the train part", "add annotated images, or change `split`"
        )
    return Cells(**parts)


def fit(
    cells: Cells,
    params: UpscalerParams,
    seed: int,
    device: torch.device,
    log_epoch: Callable[[int, Mapping[str, float]], None],
) -> Trained:
    """Minimise the L1 distance for a fixed number of steps; keep the weights that did best on validation."""
    net = new_network(params.factor, params.features, params.blocks, mean_colour(cells.train)).to(
        device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=params.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=params.steps + 1, pct_start=0.1
    )
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_psnr: float | None = None
    losses: list[float] = []
    rounds = _checkpoints(params.steps)
    with Bar(params.steps, "training the upscaler") as bar:
        for step, large in enumerate(_batches(cells.train, params, seed), start=1):
            losses.append(_step(net, optimizer, large.to(device), params.factor, seed + step))
            schedule.step()
            bar.advance(1, loss=losses[-1])
            if step not in rounds:
                continue
            row = {"epoch": len(history) + 1, "step": step, "loss": float(np.mean(losses))}
            losses = []
            if cells.val:
                row |= _judged(net, params.factor, cells.val, device)
            if not best or not cells.val or row["val_psnr"] > (best_psnr or 0):
                best = {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}
                best_psnr = row.get("val_psnr")
            history.append(row)
            log_epoch(len(history), {name: value for name, value in row.items() if name != "epoch"})
    return Trained(best, history, best_psnr)


def _checkpoints(steps: int) -> set[int]:
    return {max(1, round(steps * part / CHECKS)) for part in range(1, CHECKS + 1)}


def _batches(cells: Sequence[Cell], params: UpscalerParams, seed: int) -> Iterator[Tensor]:
    rng = np.random.default_rng(seed)
    for _ in range(params.steps):
        squares = random_squares(cells, params.batch, params.patch_px, rng)
        yield torch.from_numpy(squares).permute(0, 3, 1, 2).float().div_(255)


def _step(net: Any, optimizer: torch.optim.Optimizer, large: Tensor, factor: int, seed: int) -> float:
    large = large.contiguous(memory_format=torch.channels_last)
    small = degrade(large, factor, torch.Generator().manual_seed(seed))
    edge = slice(BORDER * factor, -BORDER * factor)
    net.train()
    with _precision(large.device):
        # The zero padding spoils the edge; in use the patch is continued there (cytoline.upscaling).
        loss = F.l1_loss(net(small)[..., edge, edge].float(), large[..., edge, edge])
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return float(loss.detach())


def _precision(device: torch.device) -> AbstractContextManager[Any]:
    """bf16 where the hardware has it: its 3 digits are enough for gradients, the weights stay in fp32."""
    return torch.autocast(device.type, torch.bfloat16) if has_fast_bf16() else nullcontext()


def _judged(net: Any, factor: int, cells: Sequence[Cell], device: torch.device) -> dict[str, float]:
    figures = score(Network(net, factor, device), cells).mean(axis=0)
    return {"val_psnr": round(float(figures[0]), 6), "val_ssim": round(float(figures[1]), 6)}


def _figures(
    trained: Trained, cells: Cells, params: UpscalerParams, seed: int, device: torch.device
) -> dict[str, float]:
    net = new_network(params.factor, params.features, params.blocks)
    models.load_strictly(net, trained.state, "the upscaler")
    figures = compare(Network(net, params.factor, device), cells.test, seed)
    if trained.best_psnr is not None:
        figures["val_psnr"] = trained.best_psnr
    return figures | {"train_patches": len(cells.train)}


def _card(params: UpscalerParams, seed: int, figures: dict[str, float], origins: dict[str, str]) -> models.ModelCard:
    return models.ModelCard(
        name="cytoline-upscaler",
        version=__version__,
        stage="upscaler",
        intended_use="Research: enlarge patches of single cells before they are classified. Not for diagnosis.",
        limits=(
            "Judged on patches that were shrunk and enlarged again; for patches at native resolution no truth exists.",
            "Detail in the enlarged patch is an estimate: it may look sharper than what the microscope resolved.",
            "Judged only on the sources named in training_data.",
        ),
        inputs=(_port("patch", "height", "width", "RGB pixels"),),
        outputs=(
            _port("enlarged", f"height*{params.factor}", f"width*{params.factor}", "RGB pixels; clip to the range"),
        ),
        training_data=origins,
        metrics=figures,
        versions={name: version(name) for name in ("torch", "spandrel", "scikit-image")},
        seed=seed,
        settings={"factor": params.factor, "features": params.features, "blocks": params.blocks},
    )


def _port(name: str, height: str, width: str, meaning: str) -> models.Port:
    return models.Port(name=name, shape=("batch", 3, height, width), dtype="float32", range=(0, 1), meaning=meaning)


def _config(params: UpscalerParams) -> str:
    """The network as a configuration; spandrel finds the same from the weights alone."""
    return (
        "# spandrel.ModelLoader().load_from_file('weights.safetensors') builds this network from its weights.\n"
        "model = dict(\n"
        "    type='SRVGGNetCompact',\n"
        f"    num_feat={params.features},\n"
        f"    num_conv={params.blocks},\n"
        f"    upscale={params.factor},\n"
        "    act_type='prelu',\n"
        ")\n"
    )


def main(
    patches: Annotated[Path, typer.Option(help="folder of patch shards")],
    out: Annotated[Path, typer.Option(help="the model folder to write")],
) -> None:
    """Train the super-resolution network on annotated train patches and measure it on test patches."""
    params, seed = UpscalerParams.load(), load_seed()
    device = prepare_torch(seed, ComputeParams.load().threads)
    cells = load_cells(patches, params.max_patches)
    with tracking.stage_run("train_upscaler", params.model_dump(), {"patches": patches}) as run:
        trained = fit(cells, params, seed, device, run.log_epoch)
        figures = _figures(trained, cells, params, seed, device)
        card = _card(params, seed, figures, {"patches": dvc_digest(patches)})
        models.save_model(out, trained.state, _config(params), card, trained.history)
        run.log_model(out, "cytoline-upscaler")
