"""``audit.html``: one page for people.  Nothing is fetched, the script may be switched off, paper is allowed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cytoline import page as pages
from cytoline.audit.compliance.resolver import Resolved
from cytoline.audit.compliance.soup import Package
from cytoline.audit.package import layout
from cytoline.audit.package.contents import DEID_COPY, SPLIT_COPY
from cytoline.audit.package.dataset import Dataset
from cytoline.audit.package.figures import Figure, headline
from cytoline.audit.package.lineage import BOX_HEIGHT, BOX_WIDTH, WIDTH, draw, says
from cytoline.audit.package.release import WEIGHTS, Release
from cytoline.errors import CytolineError
from cytoline.splits import check_no_leakage

_HERE = Path(__file__).parent
SHOWN_IN_FULL = ("Annex IV", "CLAIM", "TRIPOD+AI")
_TILES = (
    *("balanced_accuracy", "abnormal_sensitivity", "abnormal_specificity", "abnormal_auroc"),
    *("ap50", "froc_mean", "recall", "map50", "found_graded_right", "psnr_gain", "ssim_gain"),
)
_MOST_TILES = 4


@dataclass(frozen=True)
class Claim:
    """One sentence and the file that proves it; ``file`` None: nothing does, and the row is red."""

    says: str
    value: str
    file: str | None


def page(
    release: Release,
    data: Dataset,
    found: Sequence[Figure],
    resolved: Sequence[Resolved],
    software: Sequence[Package],
    files: Mapping[str, Mapping[str, Any]],
) -> str:
    """The page.  ``files``: name -> sha256 and size of what lies in the package beside it."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    approvals = _approvals(release)
    return pages.render(
        pages.template_of(_HERE / "page.html.j2"),
        own_style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=_policy(script),
        release=release,
        card=release.card,
        data=data,
        tiles=_tiles(found),
        found=found,
        claims=claims(release, data, found, approvals, files),
        drawing=draw(release),
        says=says,
        width=WIDTH,
        box=(BOX_WIDTH, BOX_HEIGHT),
        approvals=approvals,
        shown=[one for one in resolved if one.framework.short in SHOWN_IN_FULL],
        others=[one for one in resolved if one.framework.short not in SHOWN_IN_FULL],
        software=[one for one in software if one.asked],
        packages=len(software),
        files=files,
        anchor=anchor,
        held=lambda path: _held(path, files),
        layout=layout,
    )


def claims(
    release: Release,
    data: Dataset,
    found: Sequence[Figure],
    approvals: Sequence[Mapping[str, str]],
    files: Mapping[str, Mapping[str, Any]],
) -> list[Claim]:
    """What the page says of the model in short, each with its proof."""
    parts = "; ".join(f"{part.name} {part.images} images of {part.patients} patients" for part in data.parts)
    lock = f"{layout.PIPELINE}/dvc.lock"
    made = [
        Claim("The model is these weights", f"sha256 {release.weights_sha256}", f"{layout.MODEL}/{WEIGHTS}"),
        Claim("What ran, on what, and what it left, is recorded", f"{len(release.stages)} stages", lock),
        Claim(
            "The record is part of a commit", release.commit or "no commit holds it", lock if release.commit else None
        ),
        Claim("Train taught it, val chose it, test judged it", parts, SPLIT_COPY),
        _separate(data),
        Claim(
            "Images were de-identified",
            "what was done to each, in a chained log",
            DEID_COPY if DEID_COPY in files else None,
        ),
        Claim("Packages are exact versions", "read from the lock file", f"{layout.PIPELINE}/requirements.lock"),
    ]
    made += [Claim(_words(one), _value(one), one.file) for one in headline(tuple(found))]
    signed = ", ".join(sorted({f"{one['role']} ({one['meaning']})" for one in approvals}))
    made.append(
        Claim("Persons have approved it", signed or "nobody has", "approvals/approvals.jsonl" if signed else None)
    )
    return made


def anchor(name: str) -> str:
    """The id of a file's row on the page."""
    return "f-" + hashlib.sha256(name.encode()).hexdigest()[:12]


def _separate(data: Dataset) -> Claim:
    says = "No patient is in two parts"
    try:
        check_no_leakage(data.rows)
    except CytolineError as error:
        return Claim(says, error.cause, None)
    return Claim(says, f"{len({row.patient for row in data.rows})} patients compared", SPLIT_COPY)


def _tiles(found: Sequence[Figure]) -> list[tuple[str, str, str]]:
    """Name, value, interval of the figures that stand first."""
    named = {one.key: one for one in headline(tuple(found))}
    chosen = [named[key] for key in _TILES if key in named][:_MOST_TILES]
    return [(_words(one), f"{one.value:.3f}", f"{one.low:.3f} to {one.high:.3f}") for one in chosen]


def _words(one: Figure) -> str:
    return one.key.replace("_", " ").replace(".", ", ")


def _value(one: Figure) -> str:
    interval = "" if one.low is None else f" ({one.low:.3f} to {one.high:.3f})"
    return f"{one.value:.3f}{interval}"


def _approvals(release: Release) -> list[dict[str, str]]:
    """Lines of the chain about this model, as words; a signature is proven by `cytoline audit approvals`."""
    found = []
    for line in (release.revision.read("approvals/approvals.jsonl") or b"").split(b"\n"):
        try:
            row = json.loads(line) if line else None
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and row.get("ref") == release.path:
            found.append({key: str(row.get(key, ""))[:100] for key in ("role", "meaning", "by", "time")})
    return found


def _held(path: str, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name under which a file of the repository lies in the package, if it does."""
    path = path.partition("#")[0]
    return next((name for name in (path, f"{layout.PIPELINE}/{path}") if name in files), None)


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
