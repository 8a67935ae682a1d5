"""Writing a ``source.yaml`` that explains itself."""

from __future__ import annotations

import json
from typing import Any

from cytoline.sources.schema import SourceInfo

_COMMENTS = {
    "kind": "how the files are laid out: fields-coco, fields-voc, fields-csv-points, fields-plain, cells-folders,\n"
    "dicom, wsi-regions",
    "organ": "cervix, thyroid, blood, ...; carried into the manifest",
    "stain": "papanicolaou, giemsa, ...; `unknown` if nobody knows",
    "microns_per_pixel": "a number above 0, or `unknown`",
    "license": "under which licence the images are used; SPDX name if there is one",
    "legal_basis": "why they may be used here: consent, ethics vote, public data, synthetic",
    "patient_id": "whose image it is, so that no patient is on both sides of the split: `each-file`, `column:NAME`\n"
    "of the annotation table, or a regular expression on the path below this folder with a group (?P<patient>...)",
    "slide_id": "the same for the slide, group (?P<slide>...)",
    "label_aliases": "label as written: class or alias of the taxonomy; `null` leaves such boxes out (reported)",
    "images": "only images below this folder are read",
    "annotations": "the annotation file (or files) below this folder",
    "voc": "only Pascal VOC files below this folder are read",
    "box_px": "side in pixels of the square box put around each annotated point",
    "cell_box_px": "side in pixels of the square box put around each nucleus (or the middle of the picture)",
    "columns": "names of the table's columns where they are unusual: file, x, y, label, annotator",
    "max_frames": "dicom: of a file with more frames, this many spread evenly are read",
    "regions": "wsi-regions: `grid` over the tissue, `geojson` (QuPath's export beside each slide, same stem), or a\n"
    "CSV file with the columns slide, x, y, w, h in pixels of the slide at full resolution",
    "region_px": "side in pixels of a field of the grid",
    "region_mpp": "microns per pixel of the pictures; without it as the slide is",
    "region_class": "class of the QuPath annotations that are regions (as are those without one); others are cells",
    "max_regions": "of a slide with more regions, this many spread evenly are read",
    "class_folder": "which folder of the path is the class: first or last",
}

_ALWAYS = ("kind", "organ", "stain", "microns_per_pixel", "license", "legal_basis", "patient_id", "label_aliases")

_HEAD = """\
# What this folder of images is.  `collect` reads it and stops at a field that is missing or wrong.
# Images may identify people: they are kept off every default remote, and only data/clean leaves this machine.
"""


def compose(info: SourceInfo) -> str:
    """The text of a ``source.yaml`` that reads back as ``info``."""
    values = info.model_dump(mode="json", exclude_defaults=True)
    parts = [_HEAD]
    for field in SourceInfo.model_fields:
        if field in values or field in _ALWAYS:
            comment = "".join(f"# {line}\n" for line in _COMMENTS.get(field, "").splitlines())
            parts.append(f"{comment}{field}: {_yaml(values.get(field, {}))}\n")
    return "\n".join(parts)


def _yaml(value: Any) -> str:
    """JSON is YAML; plain words go without quotes because people will edit them."""
    if isinstance(value, str) and value.replace("-", "a").replace(" ", "a").isalnum() and value[0].isalpha():
        return value if value.casefold() not in _YAML_WORDS else json.dumps(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


_YAML_WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
