"""The manifest's records without names: pseudonyms, turned boxes, the clean file's own hash."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cytoline.crosswalk import Crosswalk
from cytoline.deid.orientation import turn_box
from cytoline.deid.painting import painted_share
from cytoline.deid.recreate import Outcome, painted_mask
from cytoline.deid.vocabulary import ORGANS, STAINS, listed_or_other
from cytoline.errors import CytolineError
from cytoline.manifest import Annotation, Record
from cytoline.pseudonyms import Names, Pseudonyms, load_key, synthetic_key

COLLECTED = "collected.json"
PHANTOM = "phantom"


@dataclass(frozen=True)
class Keys:
    """The private key or crosswalk for people, the public key for phantom sources; either may be unused."""

    private: Pseudonyms | Crosswalk | None
    synthetic: Pseudonyms | None
    phantoms: frozenset[str]

    @property
    def crosswalk(self) -> Crosswalk | None:
        """The crosswalk, if this run hands out random pseudonyms to people."""
        return self.private if isinstance(self.private, Crosswalk) else None

    def of(self, source: str) -> Names:
        """The pseudonyms of a source's records."""
        chosen = self.synthetic if source in self.phantoms else self.private
        assert chosen is not None
        return chosen


def choose_keys(raw: Path, records: Iterable[Record], mode: Literal["keyed", "random"] = "keyed") -> Keys:
    """Ask for the private key (or crosswalk) only if a record comes from anything but a phantom."""
    phantoms = frozenset(name for name, kind in _kinds(raw).items() if kind == PHANTOM)
    sources = {record.source for record in records}

    def private() -> Pseudonyms | Crosswalk:
        return Pseudonyms(load_key()) if mode == "keyed" else Crosswalk.load()

    return Keys(
        private=private() if sources - phantoms else None,
        synthetic=Pseudonyms(synthetic_key()) if sources & phantoms else None,
        phantoms=phantoms,
    )


def clean_id(record: Record, names: Names) -> str:
    """The image's pseudonym: from its raw id (source and content), never from its name."""
    return names.of("file", record.image_id)


def clean_record(record: Record, outcome: Outcome, sha256: str, margin: int, names: Names) -> Record:
    """What data/clean says about an image that passed."""
    image_id, mask = clean_id(record, names), painted_mask(outcome, margin) if outcome.painted else None
    annotations = []
    for item in record.annotations:
        bbox = turn_box(item.bbox, (record.width, record.height), outcome.orientation)
        annotations.append(
            Annotation(
                bbox=bbox,
                label=item.label,
                annotator=names.of("annotator", item.annotator) if item.annotator is not None else None,
                redacted=0.0 if mask is None else painted_share(mask, bbox),
            )
        )
    changes = {
        "image_id": image_id,
        "file": image_id + Path(str(outcome.file)).suffix,
        "sha256": sha256,
        "width": outcome.width,
        "height": outcome.height,
        "patient": names.of("patient", record.patient),
        # Laboratories number slides per patient: "slide 1" is another one for each.
        "slide": names.of("slide", f"{record.patient}\0{record.slide}"),
        "organ": listed_or_other(record.organ, ORGANS),
        "stain": listed_or_other(record.stain, STAINS),
        "annotations": tuple(annotations),
    }
    return Record.model_validate({**record.model_dump(), **changes})


def _kinds(raw: Path) -> Mapping[str, str]:
    """Source name -> kind, as collect wrote it; unknown means: not a phantom."""
    try:
        sources = json.loads((raw / COLLECTED).read_text(encoding="utf-8"))["sources"]
        return {name: str(entry["kind"]) for name, entry in sources.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CytolineError(f"{COLLECTED} in the raw store is damaged", "`dvc repro -f collect`") from None
