"""One way to train an OpenMMLab model: MMEngine's Runner with our own memory of what was best.

MMEngine's checkpoints are pickles; nothing here writes or reads one.  The state that an interrupted run
resumes from is kept as safetensors and JSON (``cytoline.training_state``), the best weights on validation
are held in memory and handed back.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from blake3 import blake3
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from cytoline import depthwise, openmm
from cytoline.closure import import_closure
from cytoline.compute import has_fast_bf16, is_chief
from cytoline.provenance import lock_hash
from cytoline.training_hooks import BestOnValidation, EpochSeed, Frozen, Resumable, Watch

Scope = Literal["mmdet", "mmpretrain"]

_RUNNERS = itertools.count()
"""MMEngine wants another name for each runner of a process."""


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.  ``patience`` counts validations without a better ``metric``."""

    epochs: int
    batch: int
    learning_rate: float
    warmup_iterations: int
    validate_every: int
    patience: int
    metric: str
    ema: bool
    seed: int


@dataclass(frozen=True)
class Trained:
    """What training gives back: the best weights, when they were reached, and the curves."""

    state: dict[str, Tensor]
    best_epoch: int
    best_metric: float
    history: list[dict[str, float]]


@OPTIM_WRAPPERS.register_module(force=True)
class Bf16OptimWrapper(OptimWrapper):  # type: ignore[misc]
    """MMEngine's AmpOptimWrapper refuses the CPU; this enters bf16 autocast there."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Any:
        """Forward and loss in bf16 where PyTorch holds that safe; weights stay in fp32."""
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


def train(
    scope: Scope,
    model: nn.Module,
    config: Config,
    train_data: Mapping[str, Any],
    val_data: Mapping[str, Any],
    evaluator: Mapping[str, Any],
    schedule: Schedule,
    resume_from: Path,
    on_epoch: Callable[[int, Mapping[str, float]], None],
) -> Trained:
    """Train ``model`` and return its best state on validation.

    ``train_data`` and ``val_data`` are MMEngine dataloader settings (dataset, collate_fn, sampler);
    ``resume_from`` is a folder whose name says what is trained (data, params, code), so that another
    training never resumes from it; ``on_epoch(epoch, figures)`` is called after each epoch.
    """
    best = BestOnValidation(schedule.metric, schedule.patience)
    watch = Watch(schedule.epochs, on_epoch)
    resumable = Resumable(resume_from, best, watch)
    frozen = Frozen(model, config.get("frozen", ()))
    with tempfile.TemporaryDirectory() as work:
        runner = Runner(
            model=model,
            work_dir=work,
            train_dataloader=dict(train_data) | _loader(schedule.batch),
            val_dataloader=dict(val_data) | _loader(schedule.batch),
            train_cfg=dict(by_epoch=True, max_epochs=schedule.epochs, val_interval=schedule.validate_every),
            val_cfg=dict(),
            val_evaluator=dict(evaluator),
            optim_wrapper=_optimisation(config, schedule),
            param_scheduler=_rates(schedule),
            default_hooks=dict.fromkeys(("checkpoint", "logger", "timer")),
            custom_hooks=[
                *_averaging(schedule),
                EpochSeed(schedule.seed),
                frozen,
                resumable,
                best,
                watch,
            ],
            default_scope=scope,
            launcher="pytorch" if "LOCAL_RANK" in os.environ else "none",
            experiment_name=f"cytoline-{next(_RUNNERS)}",
            env_cfg=dict(dist_cfg=dict(backend="nccl" if torch.cuda.is_available() else "gloo")),
            log_level="ERROR",
            randomness=dict(seed=schedule.seed),
            cfg=ConfigDict(),
        )
        if not torch.cuda.is_available():
            model.to(memory_format=torch.channels_last)
            depthwise.in_float32(model)
        runner.train()
    state, epoch, value = best.result()
    if is_chief():
        Resumable.forget(resume_from)
    return Trained(state=state, best_epoch=epoch, best_metric=value, history=watch.history)


def build_model(scope: Scope, config: Config) -> nn.Module:
    """Build ``config.model`` from the registry of ``scope`` and initialise what has no pre-trained weights."""
    with openmm.quiet():
        # MMDetection's configs take backbones from MMPretrain.
        import mmpretrain.models  # noqa: F401
        from mmpretrain.registry import MODELS

        if scope == "mmdet":
            import mmdet.models  # noqa: F401
            from mmdet.registry import MODELS
    # Else MMEngine reports how each single tensor was initialised.
    if not MMLogger.check_instance_created("cytoline"):
        MMLogger.get_instance("cytoline", logger_name="cytoline", log_level="ERROR")
    with _scope(scope):
        model: nn.Module = MODELS.build(ConfigDict(config.model))
        initialise = getattr(model, "init_weights", None)
        if initialise is not None:
            initialise()
    return model


def fingerprint(
    described: Mapping[str, object], config: Config, classes: Sequence[str], inputs: Iterable[Path], code: Path
) -> str:
    """What a training is made of, as a name for its resumable state: nothing else may ever resume from it.

    Params, resolved config, classes in their order, every input file, the code, the packages and how the machine
    computes.
    """
    machine = (torch.get_num_threads(), torch.cuda.is_available(), has_fast_bf16(), lock_hash())
    made_of = (described, str(config.pretty_text), list(classes), machine)
    digest = blake3(json.dumps(made_of, sort_keys=True, default=str).encode())
    for folder in inputs:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    for path in sorted(import_closure(code)):
        digest.update(path.read_bytes())
    return digest.hexdigest(16)


def versions() -> dict[str, str]:
    """The packages that compute with the weights, for a model's card."""
    names = ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection", "onedl-mmpretrain", "timm")
    return {name: version(name) for name in names}


def _scope(name: str) -> AbstractContextManager[Any]:
    scope: AbstractContextManager[Any] = DefaultScope.overwrite_default_scope(name)
    return scope


def _loader(batch: int) -> dict[str, Any]:
    # Workers would compete with the training threads for two cores; a GPU machine has cores to spare.
    workers = min(8, (os.cpu_count() or 1) // 2) if torch.cuda.is_available() else 0
    return dict(batch_size=batch, num_workers=workers, persistent_workers=workers > 0)


def _optimisation(config: Config, schedule: Schedule) -> dict[str, Any]:
    common = dict(
        optimizer=dict(config.optimizer) | {"lr": schedule.learning_rate},
        paramwise_cfg=config.get("paramwise_cfg"),
        clip_grad=config.get("clip_grad"),
    )
    if torch.cuda.is_available():
        dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        return dict(type="AmpOptimWrapper", dtype=dtype, **common)
    return dict(type="Bf16OptimWrapper" if has_fast_bf16() else "OptimWrapper", **common)


def _rates(schedule: Schedule) -> list[dict[str, Any]]:
    return [
        dict(type="LinearLR", start_factor=0.02, by_epoch=False, begin=0, end=schedule.warmup_iterations),
        dict(
            type="CosineAnnealingLR",
            eta_min=schedule.learning_rate * 0.03,
            begin=0,
            end=schedule.epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    ]


def _averaging(schedule: Schedule) -> list[dict[str, Any]]:
    if not schedule.ema:
        return []
    # Training is short here, so the average follows the weights much faster than in OpenMMLab's own settings.
    return [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.02, gamma=10, update_buffers=True)]
