"""The command behind the stage: ``python -m stages.collect --incoming data/incoming --out data/raw``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from cytoline import atomic
from cytoline.command import run
from cytoline.compute import ComputeParams, worker_pool
from cytoline.errors import CytolineError
from cytoline.manifest import json_line, write_manifest
from cytoline.memo import Memo
from cytoline.params import load_taxonomy_name
from cytoline.phantom import PhantomSpec, render_phantom
from cytoline.sources.examine import Examined, examine
from cytoline.sources.found import MEANING
from cytoline.sources.params import CollectParams
from cytoline.sources.schema import SOURCE_FILE, SourceInfo, load_source
from cytoline.taxonomy import Taxonomy
from stages.collect.store import COLLECTED, IMAGES, counts, to_record, write_images, write_notes


def read_sources(incoming: Path, names: list[str]) -> dict[str, SourceInfo]:
    """The checked ``source.yaml`` of every listed source."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CytolineError(f"collect.sources lists {', '.join(twice)} more than once", "list each source once")
    return {name: load_source(incoming / name) for name in sorted(names)}


def unlisted(incoming: Path, names: list[str]) -> list[str]:
    """Folders of ``incoming`` that collect.sources leaves out."""
    folders = (path.name for path in incoming.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(set(folders) - set(names))


@contextmanager
def opened(folder: Path, info: SourceInfo) -> Iterator[tuple[Path, SourceInfo]]:
    """Where a source's files are and how to read them; a phantom is rendered first, for as long as it is read."""
    if info.kind != "phantom":
        yield folder, info
        return
    spec = PhantomSpec.read(info.phantom or {}, str(folder / SOURCE_FILE))
    with TemporaryDirectory(prefix="phantom-") as temporary:
        render_phantom(spec, Path(temporary))
        yield (
            Path(temporary),
            info.model_copy(update={"kind": "fields-coco", "annotations": "annotations.json", "phantom": None}),
        )


def check_labels(sources: list[Examined], taxonomy: Taxonomy) -> None:
    """One error that lists every unknown label of every source."""
    labels = [label for source in sources for label in source.labels]
    guilty = [source.name for source in sources if any(taxonomy.find(label) is None for label in source.labels)]
    taxonomy.require(labels, f"source {', '.join(guilty)}")


def report(console: Console, collected: dict[str, dict[str, Any]], left: list[str]) -> None:
    """Totals by reason on the console: no path, no name of a file."""
    for name, totals in collected.items():
        boxes = totals["boxes"]
        console.print(
            f"{name}: {totals['images']} images of {totals['patients']} patients, {boxes['kept']} boxes; "
            f"refused {totals['refused']} of {totals['seen']} files, {boxes['refused']} of {boxes['seen']} boxes; "
            f"{totals['clipped']} boxes cut at the edge"
        )
        for what, part in (("files", totals), ("entries", totals["entries"]), ("boxes", boxes)):
            for reason, count in part["reasons"].items():
                console.print(f"  {what}: {count} x {reason} ({MEANING[reason]})")
    if left:
        console.print(f"not listed in collect.sources, so not read: {', '.join(left)}")


def main(
    incoming: Annotated[Path, typer.Option(help="folder of source folders, each with its source.yaml")],
    out: Annotated[Path, typer.Option(help="raw store to write (never pushed)")],
) -> None:
    """Read all listed sources, refuse what cannot be used, keep the rest under content ids."""
    params = CollectParams.load()
    taxonomy = Taxonomy.load(load_taxonomy_name())
    infos = read_sources(incoming, params.sources)
    left = unlisted(incoming, params.sources)
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    examined: list[Examined] = []
    with atomic.rebuilt_folder(out) as fresh, worker_pool(ComputeParams.load()) as pool:
        (fresh / IMAGES).mkdir()
        for name, info in infos.items():
            examined.append(_collect(name, incoming / name, info, params, fresh / IMAGES, pool))
        check_labels(examined, taxonomy)
        write_manifest(fresh, [to_record(source, image, taxonomy) for source in examined for image in source.kept])
        write_notes(examined, fresh)
        collected = {source.name: counts(source, infos[source.name].kind, taxonomy) for source in examined}
        (fresh / COLLECTED).write_text(json_line({"sources": collected, "not_listed": left}), encoding="utf-8")
    report(console, collected, left)


def _collect(
    name: str, folder: Path, info: SourceInfo, params: CollectParams, images: Path, pool: Executor
) -> Examined:
    # Beside the images, so that what is kept can be linked; gone before the store takes its place.
    unpacked = TemporaryDirectory(prefix=".unpacked-", dir=images.parent)
    with unpacked as unpack_to, opened(folder, info) as (place, readable):
        source = examine(name, place, readable, params, Memo(), pool, Path(unpack_to))
        write_images(source, images)
    return source


if __name__ == "__main__":
    run(main)
