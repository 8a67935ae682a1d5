"""``cytoline audit diff A B``: what changed between two revisions, in the order in which it can matter.

Data by the manifests and splits that ``dvc.lock`` names, code by the hashes of what the stages ran, params as they ran,
packages from the lock file, figures from ``metrics/``, and figures of subgroups (class, source) from the cases.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cytoline.audit import subgroups, view
from cytoline.audit.ancestry import flat
from cytoline.audit.facts import Facts
from cytoline.audit.index import open_index
from cytoline.audit.model import REQUIREMENTS, leaves, pinned
from cytoline.audit.recording import CLEAN, SPLIT, is_data
from cytoline.audit.revision import WORK_TREE, Cache, Revision

_FIGURES = ("detector", "classifier", "two_stage", "upscaler")
_CASES = "metrics/cases.jsonl"


class Change(Facts):
    """One thing before and after; None where it is absent on that side."""

    name: str
    before: Any = None
    after: Any = None


class Difference(Facts):
    """The answer.  ``data`` counts images and patients (None: not known); ``outs`` are hashes."""

    before: str
    after: str
    outs: tuple[Change, ...]
    data: tuple[Change, ...] | None
    code: tuple[Change, ...]
    params: tuple[Change, ...]
    environment: tuple[Change, ...]
    metrics: tuple[Change, ...]
    subgroups: tuple[Change, ...]
    missing: tuple[str, ...] = ()


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="commit, branch or tag", show_default=False)],
    after: Annotated[str | None, typer.Argument(metavar="[B]", help="the same; left out: the work tree")] = None,
    as_json: view.AsJson = False,
) -> None:
    """What changed between two revisions: data, code, params, packages, figures, and figures of classes and sources.

    Changes are facts, no verdict: `cytoline gate` says whether a loss is more than noise. Exit code 0 also where much
    differs.
    """
    found = diff_of(before, after)
    if as_json:
        view.print_json(found)
    else:
        _show(found)


def diff_of(before: str, after: str | None, top: Path = Path()) -> Difference:
    """Compare two revisions (``after`` None: the work tree)."""
    one = Revision.at(before, top)
    other = Revision.work_tree(top) if after is None else Revision.at(after, top)
    unlocked = [side.name for side in (one, other) if not side.stages]
    missing = [f"{name} has no dvc.lock: its data, code and params are unknown" for name in unlocked]
    with closing(open_index(top)) as index:
        data = _data(index, one, other, missing)
    return Difference(
        before=_name(one),
        after=_name(other),
        outs=_changes(_outs(one), _outs(other)),
        data=data,
        code=_changes(_code(one), _code(other)),
        params=_changes(_params(one), _params(other)),
        environment=_changes(_packages(one, missing), _packages(other, missing)),
        metrics=_changes(_figures(one), _figures(other)),
        subgroups=_changes(_groups(one, missing), _groups(other, missing)),
        missing=tuple(missing),
    )


def _name(side: Revision) -> str:
    return WORK_TREE if side.commit is None else f"{side.name} ({side.commit})"


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = sorted(before.keys() | after.keys())
    return tuple(
        Change(name=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name) or (name in before) != (name in after)
    )


def _outs(side: Revision) -> dict[str, str]:
    found = {item.path: item.md5 for item in side.sources}
    return found | {out.path: out.md5 for stage in side.stages.values() for out in stage.outs}


def _code(side: Revision) -> dict[str, str]:
    return {item.path: item.md5 for stage in side.stages.values() for item in stage.deps if not is_data(item.path)}


def _params(side: Revision) -> dict[str, Any]:
    """Params as the stages ran; two stages that ran with different values of one are told apart."""
    values: dict[str, dict[str, Any]] = {}
    for stage in side.stages.values():
        for key, value in flat(stage.params).items():
            values.setdefault(key, {})[stage.name] = value
    found: dict[str, Any] = {}
    for key, by_stage in values.items():
        together = list(by_stage.values())
        if all(value == together[0] for value in together):
            found[key] = together[0]
        else:
            found |= {f"{key} ({stage})": value for stage, value in by_stage.items()}
    return found


def _packages(side: Revision, missing: list[str]) -> dict[str, str]:
    content = side.read(REQUIREMENTS)
    if content is None:
        missing.append(f"{side.name} has no {REQUIREMENTS}")
        return {}
    return pinned(content)


def _figures(side: Revision) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in _FIGURES:
        found |= leaves(name, side.read(f"metrics/{name}.json") or b"{}")
    return found


def _groups(side: Revision, missing: list[str]) -> dict[str, float]:
    content = side.read(_CASES)
    if content is None and (out := side.out(_CASES)) is not None:
        content = Cache.of(side.top).read(out.md5)
    if content is None:
        missing.append(f"{side.name} has no {_CASES}: no figures of subgroups")
        return {}
    return subgroups.figures(content)


def _data(index: sqlite3.Connection, one: Revision, other: Revision, missing: list[str]) -> tuple[Change, ...] | None:
    """Images and patients, all and per part and source, and how many came, went or changed their content or part."""
    sides = [_images(index, side, missing) for side in (one, other)]
    if any(side is None for side in sides):
        return None
    before, after = ({} if side is None else side for side in sides)
    rows = list(_changes(_counted(before), _counted(after)))
    common = before.keys() & after.keys()
    moved = {
        "images added": len(after.keys() - before.keys()),
        "images removed": len(before.keys() - after.keys()),
        "images with other content": sum(before[image][2] != after[image][2] for image in common),
        "images in another part": sum(before[image][3] != after[image][3] for image in common),
        "images of another patient": sum(before[image][0] != after[image][0] for image in common),
    }
    return (*rows, *(Change(name=name, before=0, after=number) for name, number in moved.items() if number))


def _images(
    index: sqlite3.Connection, side: Revision, missing: list[str]
) -> dict[str, tuple[str, str, str, str | None]] | None:
    """Image to patient, source, sha256 and part; None where the manifest is gone."""
    clean, split = side.out(CLEAN), side.out(SPLIT)
    if clean is None:
        missing.append(f"{side.name} records no {CLEAN}")
        return None
    rows = index.execute(
        "SELECT image_id, patient, source, sha256 FROM images WHERE manifest_md5 = ?", (clean.md5,)
    ).fetchall()
    if not rows:
        why = index.execute("SELECT why FROM lacking WHERE md5 = ?", (clean.md5,)).fetchone()
        missing.append(f"{CLEAN} of {side.name} ({clean.md5}): {why[0] if why else 'it holds no image'}")
        return None
    parts = dict(
        index.execute("SELECT image_id, part FROM splits WHERE split_md5 = ?", (split.md5 if split else "",)).fetchall()
    )
    if not parts:
        missing.append(f"the parts of {side.name}: its split is not here")
    return {image: (patient, source, sha256, parts.get(image)) for image, patient, source, sha256 in rows}


def _counted(images: Mapping[str, tuple[str, str, str, str | None]]) -> dict[str, int]:
    found: dict[str, int] = {}
    patients: dict[str, set[str]] = {}
    for patient, source, _, part in images.values():
        for group in ("all", f"source {source}", f"part {part}"):
            found[f"{group}: images"] = found.get(f"{group}: images", 0) + 1
            patients.setdefault(f"{group}: patients", set()).add(patient)
    return found | {group: len(people) for group, people in patients.items()}


def _show(found: Difference) -> None:
    console = view.screen()
    console.print(
        Text("from ").append_text(view.plain(found.before)).append(" to ").append_text(view.plain(found.after))
    )
    for title, changes in (
        ("data", found.data),
        ("params", found.params),
        ("packages", found.environment),
        ("code", found.code),
        ("what the stages made", found.outs),
        ("figures", found.metrics),
        ("figures of subgroups", found.subgroups),
    ):
        if changes is None:
            console.print(Text(f"\n{title}: not known", style="red"))
            continue
        rows = [(one.name, _cell(one.before), _cell(one.after), _step(one)) for one in changes]
        shown = [row for row in rows if not row[0].endswith(("_low", "_high"))]
        console.print()
        if shown:
            console.print(view.table(f"{title}: {len(shown)} changed", ("what", "before", "after", "step"), shown))
        else:
            console.print(Text(f"{title}: no change", style="dim"))
    console.print()
    view.print_words(console, "missing", found.missing, "red")


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return view.short(value) if len(value) in (32, 36) else value
    return (
        "-" if value is None else f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    )


def _step(one: Change) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one.before, one.after))
    return f"{one.after - one.before:+.4g}" if numbers else ""
