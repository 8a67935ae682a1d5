"""The knobs that every training with MMEngine has, and what follows from them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mmengine.config import Config
from pydantic import Field

from cytoline.errors import CytolineError
from cytoline.params import Params
from cytoline.training import Schedule


class TrainingParams(Params):
    """Base of the detector's and the classifier's params; the comments in params.yaml say why."""

    config: str
    weights: str
    epochs: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup_iterations: Annotated[int, Field(ge=1)]
    validate_every: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)]

    def read_config(self, folder: Path) -> Any:
        """The OpenMMLab config ``folder/<config>.py``.  Raises ``CytolineError`` where there is none of that name."""
        path = folder / f"{self.config}.py"
        if Path(self.config).name != self.config or not path.is_file():
            known = ", ".join(sorted(item.stem for item in folder.glob("*.py")))
            raise CytolineError(f"{self.prefix}.config: there is no {self.config!r}", f"use one of: {known}")
        return Config.fromfile(str(path))

    def schedule(self, metric: str, seed: int) -> Schedule:
        """How long and how hard; ``metric`` decides which epoch is best.  Weights are averaged over steps."""
        return Schedule(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            warmup_iterations=self.warmup_iterations,
            validate_every=self.validate_every,
            patience=self.patience,
            metric=metric,
            ema=True,
            seed=seed,
        )
