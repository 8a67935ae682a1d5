"""Enlarging patches: ``none``, ``lanczos``, our own ``compact`` network, or any model ``file`` that spandrel reads.

torch and spandrel are imported only when a network is opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cytoline.errors import CytolineError
from cytoline.images import RGB

if TYPE_CHECKING:
    import torch

Method = Literal["none", "lanczos", "compact", "file"]

NETWORKS: frozenset[Method] = frozenset({"compact", "file"})
"""Methods that need weights."""

WEIGHTS = "weights.safetensors"
BATCH_PIXELS = 512 * 512
"""Input pixels that go through a network at once: bounds its memory whatever the patches' sizes."""

BORDER = 4
"""Pixels by which a patch is continued before it enters a network, whose zero padding would darken the edge."""


class Upscaler(Protocol):
    """What every method gives."""

    @property
    def factor(self) -> int:
        """Side of the enlarged patch over side of the patch."""

    def enlarge(self, patch: RGB) -> RGB:
        """uint8 [h, w, 3] to uint8 [h * factor, w * factor, 3]."""

    def enlarge_many(self, patches: Sequence[RGB]) -> list[RGB]:
        """The same for many, in order."""


@dataclass(frozen=True)
class Unchanged:
    """Method ``none``."""

    factor: int = 1

    def enlarge(self, patch: RGB) -> RGB:
        """The patch itself."""
        return patch

    def enlarge_many(self, patches: Sequence[RGB]) -> list[RGB]:
        """The patches themselves."""
        return list(patches)


@dataclass(frozen=True)
class Resampled:
    """Methods ``lanczos`` and (as a yardstick) ``bicubic``: Pillow's filters, no weights."""

    factor: int
    kernel: Image.Resampling = Image.Resampling.LANCZOS

    def enlarge(self, patch: RGB) -> RGB:
        """Resample one patch."""
        height, width = patch.shape[:2]
        picture = Image.fromarray(patch).resize((width * self.factor, height * self.factor), self.kernel)
        return np.asarray(picture, dtype=np.uint8)

    def enlarge_many(self, patches: Sequence[RGB]) -> list[RGB]:
        """Resample each."""
        return [self.enlarge(patch) for patch in patches]


class Network:
    """A super-resolution network that maps float [N, 3, h, w] in 0..1 to [N, 3, h * factor, w * factor]."""

    def __init__(self, net: Any, factor: int, device: torch.device | None = None) -> None:
        import torch

        self.factor = factor
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._net = net.to(self._device).eval()

    def enlarge(self, patch: RGB) -> RGB:
        """Enlarge one patch."""
        return self.enlarge_many([patch])[0]

    def enlarge_many(self, patches: Sequence[RGB]) -> list[RGB]:
        """Enlarge patches of any sizes; those of equal size share a batch."""
        by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, patch in enumerate(patches):
            by_size[patch.shape[:2]].append(index)
        done: dict[int, RGB] = {}
        for size, members in by_size.items():
            step = max(1, BATCH_PIXELS // max(1, int(np.prod(size))))
            for start in range(0, len(members), step):
                chosen = members[start : start + step]
                done.update(zip(chosen, self._batch(np.stack([patches[i] for i in chosen])), strict=True))
        return [done[index] for index in range(len(patches))]

    def _batch(self, stack: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import torch

        edge = BORDER * self.factor
        with torch.inference_mode():
            inputs = torch.from_numpy(stack).to(self._device).permute(0, 3, 1, 2).float().div_(255)
            padded = torch.nn.functional.pad(inputs, (BORDER,) * 4, mode="replicate")
            outputs = self._net(padded.contiguous(memory_format=torch.channels_last))
            levels = outputs[..., edge:-edge, edge:-edge].float().clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def open_upscaler(method: Method, factor: int, weights: Path | None = None) -> Upscaler:
    """Make ready one method.  ``weights``: the model folder (``compact``) or the model file (``file``).

    Raises ``CytolineError`` if the weights are missing, unreadable, a pickle, or enlarge by another factor.
    """
    if method == "none":
        return Unchanged()
    if method == "lanczos":
        return Resampled(factor)
    path = weights_path(method, weights)
    net, found = _read_network(path)
    if found != factor:
        raise CytolineError(
            f"{path.name} enlarges {found} times, but upscale.factor is {factor}",
            f"set upscale.factor to {found}, or give weights made for {factor}"
            + (" (upscaler.factor, then `dvc repro`)" if method == "compact" else ""),
        )
    return Network(net, factor)


def weights_path(method: Method, weights: Path | None) -> Path:
    """The one file that a network's weights are read from.  Refuses by name whatever could be a pickle."""
    if weights is None or not str(weights) or str(weights) == ".":
        raise CytolineError(f"upscale.method is {method}, but no weights are named", "set upscale.file to a model file")
    path = weights / WEIGHTS if method == "compact" else weights
    if path.suffix != ".safetensors":
        raise CytolineError(
            f"{path.name} is not a .safetensors file; pickled weights can run code and are never read",
            "convert it where you trust it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)",
        )
    if not path.is_file():
        raise CytolineError(f"{path} is missing", "train it with `dvc repro train_upscaler`, or correct upscale.file")
    return path


def _read_network(path: Path) -> tuple[Any, int]:
    """The network and its factor, its architecture recognised by spandrel from the names and shapes alone."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError

    remedy = "use a super-resolution model of one of spandrel's architectures, saved as safetensors"
    try:
        descriptor = ModelLoader(device="cpu").load_from_state_dict(load_file(path))
    except (SafetensorError, UnsupportedModelError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise CytolineError(
            f"{path.name} holds no model that spandrel knows ({type(error).__name__})", remedy
        ) from None
    rgb = isinstance(descriptor, ImageModelDescriptor) and descriptor.input_channels == descriptor.output_channels == 3
    if not rgb:
        raise CytolineError(f"{path.name} does not map an RGB image to an RGB image", remedy)
    net = descriptor.model if descriptor.architecture.id == "Compact" else _Described(descriptor)
    return net, int(descriptor.scale)


class _Described:
    """A spandrel descriptor with the few methods of a module that ``Network`` uses; it pads where its net needs it."""

    def __init__(self, descriptor: Any) -> None:
        self._descriptor = descriptor

    def to(self, device: torch.device) -> _Described:
        self._descriptor.to(device)
        return self

    def eval(self) -> _Described:
        self._descriptor.eval()
        return self

    def __call__(self, inputs: torch.Tensor) -> Any:
        return self._descriptor(inputs)
