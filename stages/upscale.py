"""Enlarge every patch.  In: data/patches, models/upscaler.  Out: data/upscaled (same names, same table).

Why: a nucleus of 20 px carries its grade in its outline and chromatin; the classifier sees them better in
an enlarged patch than in one that its own bilinear resize has blown up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, overload

import typer
from pydantic import BaseModel, ConfigDict

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, how_computed, prepare_torch, worker_pool
from cytoline.errors import CytolineError
from cytoline.images import png_bytes, read_image
from cytoline.memo import Job, Memo
from cytoline.params import Params
from cytoline.patches import PATCHES, PatchRecord, read_patches
from cytoline.shards import DEFAULT_SHARDS, Shards, write_shards
from cytoline.upscaling import NETWORKS, Method, Upscaler, open_upscaler, weights_path


class UpscaleParams(Params, prefix="upscale"):
    """How patches are enlarged."""

    method: Method
    factor: Literal[2, 4]
    """Side of the enlarged patch over side of the patch; ``none`` ignores it."""
    file: str
    """Method ``file`` only: PATH#SHA256 of a .safetensors model of any architecture that spandrel knows."""


class Enlarging(BaseModel):
    """What an enlarged patch depends on beside the patch."""

    model_config = ConfigDict(frozen=True)

    method: Method
    factor: int
    weights: str | None
    sha256: str | None


def enlarge(names: tuple[str, ...], patches: tuple[bytes, ...], params: Enlarging) -> dict[str, bytes]:
    """Enlarge the patches (PNG) of one image."""
    if params.method == "none":
        return dict(zip(names, patches, strict=True))
    enlarged = _upscaler(params).enlarge_many([read_image(content) for content in patches])
    return {name: png_bytes(pixels) for name, pixels in zip(names, enlarged, strict=True)}


@lru_cache(maxsize=1)
def _upscaler(params: Enlarging) -> Upscaler:
    path = Path(params.weights) if params.weights else None
    return open_upscaler(params.method, params.factor, path)


class PatchJobs(Sequence[Job]):
    """One job per image, its pixels read only when it is that job's turn, so that memory stays flat."""

    def __init__(self, patches: Iterable[PatchRecord], shards: Shards) -> None:
        by_image: dict[str, list[str]] = {}
        for patch in patches:
            by_image.setdefault(patch.image_id, []).append(patch.file)
        self._images = sorted(by_image.items())
        self._shards = shards

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        image_id, names = self._images[index]
        return Job(image_id, (tuple(names), tuple(self._shards[name] for name in names)))


def entries(jobs: Sequence[Job], enlarging: Enlarging, compute: ComputeParams) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all enlarged patches.

    A network runs in this process with all its threads (or the GPU) to itself; filters run in workers.
    """
    network = enlarging.method in NETWORKS
    if network:
        prepare_torch(0, compute.threads)  # inference draws no random numbers
    extra = how_computed(compute.threads) if network else b""
    with nullcontext() if network else worker_pool(compute) as pool:
        for _, blobs in Memo().map(enlarge, jobs, enlarging, description="enlarging patches", pool=pool, extra=extra):
            for name, blob in blobs.items():
                yield name, blob.read()


def main(
    patches: Annotated[Path, typer.Option(help="folder of patch shards")],
    upscaler: Annotated[Path, typer.Option(help="the upscaler's model folder (method `compact`)")],
    out: Annotated[Path, typer.Option(help="folder of enlarged patch shards to write")],
) -> None:
    """Enlarge all patches by the method of `upscale.method`."""
    params = UpscaleParams.load()
    weights, digest = None, None
    if params.method in NETWORKS:
        named, _, expected = params.file.partition("#")
        weights = upscaler if params.method == "compact" else Path(named)
        digest = hashlib.sha256(weights_path(params.method, weights).read_bytes()).hexdigest()
        if params.method == "file" and digest != expected:
            # DVC knows the param, not the file: without its hash a changed file would change nothing.
            raise CytolineError(
                f"upscale.file: the sha256 of {weights.name} is not the one named after `#`",
                f"if this is the file you trust, set upscale.file to {named}#{digest}",
            )
    enlarging = Enlarging(
        method=params.method,
        factor=1 if params.method == "none" else params.factor,
        weights=None if weights is None else str(weights),
        sha256=digest,
    )
    jobs = PatchJobs(read_patches(patches), Shards(patches))
    with atomic.rebuilt_folder(out) as folder:
        write_shards(folder, entries(jobs, enlarging, ComputeParams.load()), _shard_count(patches))
        (folder / PATCHES).write_bytes((patches / PATCHES).read_bytes())
        method = {"method": params.method, "factor": enlarging.factor, "weights_sha256": digest, **_cut(patches)}
        atomic.write_text(folder / "method.json", json.dumps(method, indent=1, sort_keys=True) + "\n")


def _cut(patches: Path) -> dict[str, object]:
    """How the patches were cut: who grades new images must cut and enlarge them in the same way."""
    told = patches / "summary.json"
    return dict(json.loads(told.read_text(encoding="utf-8"))["cut"]) if told.is_file() else {}


def _shard_count(patches: Path) -> int:
    return max(DEFAULT_SHARDS, len(list(patches.glob("shard-*.tar"))))


if __name__ == "__main__":
    run(main)
