"""A contact sheet of the phantom to look at: ``python -m benchmarks.phantom_sheet OUT.png [--cells]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from cytoline import atomic
from cytoline.command import run
from cytoline.phantom.field import Drawn, render_field
from cytoline.phantom.plan import FieldPlan, plan_fields
from cytoline.phantom.spec import GRADES, PhantomSpec

COLOURS = ((42, 157, 74), (224, 161, 0), (226, 96, 28), (176, 16, 48))
TILE = 112


def field_sheet(drawn: list[tuple[FieldPlan, Drawn]], columns: int, boxes: bool) -> NDArray[np.uint8]:
    """Fields side by side, with their boxes if asked."""
    tiles = []
    for _, field in drawn:
        tile = field.image.copy()
        for (x, y, w, h), label, grade in field.cells if boxes else ():
            cv2.rectangle(tile, (int(x), int(y)), (int(x + w), int(y + h)), COLOURS[grade], 1)
            cv2.putText(tile, label, (int(x) + 2, int(y) + 11), cv2.FONT_HERSHEY_SIMPLEX, 0.36, COLOURS[grade], 1)
        tiles.append(tile)
    return _grid(tiles, columns)


def cell_sheet(drawn: list[tuple[FieldPlan, Drawn]], columns: int) -> NDArray[np.uint8]:
    """Two rows of cells for each grade, mild to severe, each cell at its true size."""
    rows = []
    for grade in range(len(GRADES)):
        found = [_tile(field.image, box) for _, field in drawn for box, _, own in field.cells if own == grade]
        rows += found[: 2 * columns] + [np.full((TILE, TILE, 3), 255, np.uint8)] * max(0, 2 * columns - len(found))
    return _grid(rows, columns)


def _tile(image: NDArray[np.uint8], box: tuple[float, ...]) -> NDArray[np.uint8]:
    x, y = int(box[0] + box[2] / 2), int(box[1] + box[3] / 2)
    half = TILE // 2
    padded = cv2.copyMakeBorder(image, half, half, half, half, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return np.asarray(padded[y : y + TILE, x : x + TILE], np.uint8)


def _grid(tiles: list[NDArray[Any]], columns: int) -> NDArray[np.uint8]:
    framed = [cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for tile in tiles]
    framed += [np.full_like(framed[0], 255)] * (-len(framed) % columns)
    rows = [np.concatenate(framed[at : at + columns], axis=1) for at in range(0, len(framed), columns)]
    return np.asarray(np.concatenate(rows), np.uint8)


def main(
    out: Annotated[Path, typer.Argument(help="PNG file to write.")],
    fields: Annotated[int, typer.Option(help="How many fields to render.")] = 12,
    first: Annotated[int, typer.Option(help="Which field to begin with.")] = 0,
    columns: Annotated[int, typer.Option(help="Tiles side by side.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the phantom.")] = 0,
    boxes: Annotated[bool, typer.Option(help="Draw boxes and labels on the fields.")] = False,
    cells: Annotated[bool, typer.Option(help="Show single cells by grade instead of fields.")] = False,
) -> None:
    """Render some fields of the default phantom into one picture."""
    spec = PhantomSpec(seed=seed)
    plans = list(plan_fields(spec))[first : first + fields]
    drawn = [(plan, render_field(spec, plan)) for plan in plans]
    sheet = cell_sheet(drawn, columns) if cells else field_sheet(drawn, columns, boxes)
    done, buffer = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not done:
        raise RuntimeError("OpenCV could not write the sheet")
    atomic.write_bytes(out, buffer.tobytes())


if __name__ == "__main__":
    run(main)
