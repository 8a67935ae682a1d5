"""The way from source to model as a drawing: nodes are data, models and figures, lines are stages.

Columns are kinds, rows are the order of making, so that every line goes down.  Written as SVG with links, which work
without a script: each node is a link to its details, and takes the focus by Tab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from cytoline.audit.package.release import Release
from cytoline.audit.revision import Item, LockedStage

LANES = ("Images", "Split", "Cells", "Models", "Figures")
_LANE_OF = {"split": 1, "detections": 2, "patches": 2, "upscaled": 2}
WIDTH, LEFT, LANE, ROW, TOP = 900, 36, 172, 62, 44
BOX_WIDTH, BOX_HEIGHT = 148, 40
_SHOWN_OUTS = 3
_SPREAD = 14
_SECRET = ("data/raw", "data/incoming", "data/quarantine")


@dataclass(frozen=True)
class Node:
    """``items`` are the outs that it stands for (one, or all of a stage that left many)."""

    key: str
    label: str
    lane: int
    row: int
    items: tuple[Item, ...]
    stage: LockedStage | None
    released: bool
    above: tuple[str, ...]
    below: tuple[str, ...]

    @property
    def x(self) -> int:
        """Left edge."""
        return LEFT + self.lane * LANE

    @property
    def y(self) -> int:
        """Upper edge."""
        return TOP + self.row * ROW

    @property
    def short(self) -> str:
        """First digits of the hash, or how many outs there are."""
        return self.items[0].md5[:10] if len(self.items) == 1 else f"{len(self.items)} outs"


@dataclass(frozen=True)
class Drawing:
    """Nodes in the order of making, the lines between them, and the size of the picture."""

    nodes: tuple[Node, ...]
    lines: tuple[tuple[str, str, str], ...]
    """Upper node, lower node, path of the curve."""
    height: int
    lanes: tuple[tuple[int, str], ...]


def draw(release: Release) -> Drawing:
    """Lay out the lineage of a release."""
    groups = _groups(release)
    owner = {item.path: key for key, _, items, _ in groups for item in items}
    above = {key: _parents(key, stage, owner) for key, _, _, stage in groups}
    below: dict[str, list[str]] = {key: [] for key in above}
    for key, parents in above.items():
        for parent in parents:
            below[parent].append(key)
    nodes = tuple(
        Node(
            key=key,
            label=label,
            lane=_lane(items[0].path),
            row=row,
            items=items,
            stage=stage,
            released=any(item.path == release.path for item in items),
            above=above[key],
            below=tuple(below[key]),
        )
        for row, (key, label, items, stage) in enumerate(groups)
    )
    by_key = {node.key: node for node in nodes}
    lines = tuple((up, node.key, _curve(by_key[up], node)) for node in nodes for up in node.above)
    lanes = tuple((LEFT + number * LANE, name) for number, name in enumerate(LANES))
    return Drawing(nodes, lines, TOP + len(nodes) * ROW, lanes)


def _groups(release: Release) -> list[tuple[str, str, tuple[Item, ...], LockedStage | None]]:
    """Key, label, outs and stage of every node: first what no stage made, then each stage's outs."""
    made = {out.path for stage in release.stages for out in stage.outs}
    found: list[tuple[str, str, tuple[Item, ...], LockedStage | None]] = []
    seen: set[str] = set()
    for stage in release.stages:
        for dep in stage.deps:
            outer = dep.path.startswith("data/") and not any(_inside(dep.path, path) for path in made)
            if outer and dep.path not in seen:
                seen.add(dep.path)
                found.append((_key(dep.path), PurePosixPath(dep.path).name, (dep,), None))
        if len(stage.outs) > _SHOWN_OUTS:
            found.append((_key(f"{stage.name}-outs"), stage.name, stage.outs, stage))
        else:
            found += [(_key(out.path), PurePosixPath(out.path).name, (out,), stage) for out in stage.outs]
    return found


def _parents(key: str, stage: LockedStage | None, owner: dict[str, str]) -> tuple[str, ...]:
    if stage is None:
        return ()
    found = {owner[path]: None for dep in stage.deps for path in owner if _inside(dep.path, path)}
    found.pop(key, None)
    return tuple(found)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _lane(path: str) -> int:
    parts = PurePosixPath(path).parts
    if parts[0] == "models":
        return 3
    return 4 if parts[0] == "metrics" else _LANE_OF.get(parts[-1], 0)


def _key(path: str) -> str:
    return "n-" + "".join(letter if letter.isalnum() else "-" for letter in path)


def _curve(upper: Node, lower: Node) -> str:
    """From the lower edge (same lane: the left edge) of one box to the upper edge of the other."""
    if upper.lane == lower.lane and lower.row > upper.row + 1:
        x, y, end = upper.x, upper.y + BOX_HEIGHT // 2, lower.y + BOX_HEIGHT // 2
        return f"M{x},{y} C{x - 26},{y} {x - 26},{end} {x},{end}"
    if upper.lane == lower.lane:
        x = upper.x + BOX_WIDTH // 2
        return f"M{x},{upper.y + BOX_HEIGHT} L{x},{lower.y}"
    # Out of the side, then down; lines from different columns arrive side by side.
    end_x, end_y = lower.x + BOX_WIDTH // 2 + (upper.lane - lower.lane) * _SPREAD, lower.y
    side = upper.x + BOX_WIDTH if lower.lane > upper.lane else upper.x
    middle = upper.y + BOX_HEIGHT // 2
    return f"M{side},{middle} C{end_x},{middle} {end_x},{middle} {end_x},{end_y}"


def says(node: Node) -> Sequence[tuple[str, str]]:
    """What the details of a node tell, as name and value; hashes whole."""
    rows: list[tuple[str, str]] = []
    if node.stage is not None:
        code = [dep for dep in node.stage.deps if dep.path.endswith(".py")]
        rows += [("made by", node.stage.name), ("command", node.stage.command)]
        rows += [("code", f"{len(code)} files, each with its hash in pipeline/dvc.lock")]
    for item in node.items:
        size = f", {item.files} files" if item.files else ""
        size += f", {item.size:,} bytes" if item.size else ""
        rows.append((item.path, f"md5 {item.md5}{size}"))
    if any(item.path in _SECRET for item in node.items):
        rows.append(("note", "may identify people: never pushed, never in a package"))
    for values in node.stage.params.values() if node.stage else ():
        knobs = [f"{key} = {value}" for key, value in sorted(values.items()) if not isinstance(value, dict)]
        if knobs:
            rows.append(("parameters", "; ".join(knobs)))
    return rows
