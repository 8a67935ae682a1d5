"""What readers hand on: images with the boxes that someone drew, and everything that is left out, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from cytoline.manifest import BBox

What = Literal["file", "entry", "box"]
"""file: on disk; entry: an image that a list names, a frame, a region; box: one marked cell."""

WHATS: tuple[What, ...] = get_args(What)

Reason = Literal[
    # links, names and kinds of files
    "link_out",
    "link_to_folder",
    "broken_link",
    "special_file",
    "no_permission",
    "name_not_utf8",
    "other_file",
    # images
    "file_too_large",
    "empty",
    "unknown_format",
    "too_large",
    "truncated",
    "unsupported",
    "duplicate",
    "duplicate_disagrees",
    "size_mismatch",
    "no_annotation",
    "no_patient",
    "no_class_folder",
    # slides and DICOM
    "no_image",
    "slide_label",
    "not_readable",
    "incomplete_slide",
    "no_region",
    "no_calibration",
    "over_limit",
    "bad_region",
    "outside_slide",
    # annotations
    "bad_annotation",
    "annotation_without_image",
    "path_outside",
    "bad_entry",
    "ambiguous",
    "listed_twice",
    "rows_disagree",
    # boxes
    "image_refused",
    "not_a_box",
    "no_area",
    "outside_regions",
    "degenerate",
    "outside",
    "clipped",
    "duplicate_box",
    "crowd_region",
    "label_left_out",
]

MEANING: dict[Reason, str] = {
    "link_out": "link that leads out of the source folder",
    "link_to_folder": "link to a folder",
    "broken_link": "link that leads nowhere",
    "special_file": "neither a file nor a folder",
    "no_permission": "may not be read",
    "name_not_utf8": "name is not valid UTF-8",
    "other_file": "neither an image nor an annotation that this kind uses",
    "file_too_large": "file above collect.max_file_megabytes",
    "empty": "empty file",
    "unknown_format": "not an image in spite of its name",
    "too_large": "more pixels than collect.max_megapixels (a slide's region: than 50 megapixels)",
    "truncated": "truncated or damaged image",
    "unsupported": "image of a form that is not read (several pages, floating point, turned TIFF)",
    "duplicate": "same bytes as another image of the source",
    "duplicate_disagrees": "same bytes as another image, but other annotations or another patient",
    "size_mismatch": "annotated at another size than the image has",
    "no_annotation": "image without annotation",
    "no_patient": "patient_id (or slide_id) finds nothing",
    "no_class_folder": "not inside a class folder",
    "no_image": "DICOM file without an image (report, plan, directory)",
    "slide_label": "label, overview or thumbnail of a slide",
    "not_readable": "coding or pixel format that is not read, or that its decoder refuses",
    "incomplete_slide": "slide whose companion files are missing, may not be read or lie elsewhere",
    "no_region": "slide without tissue, or without a marked region",
    "no_calibration": "slide without microns per pixel, so region_mpp cannot be met",
    "over_limit": "frame or region beyond max_frames or max_regions of source.yaml",
    "bad_region": "region without four whole numbers",
    "outside_slide": "region that reaches outside its slide",
    "bad_annotation": "annotation that cannot be read",
    "annotation_without_image": "annotation without its image",
    "path_outside": "annotation that points out of the source folder",
    "bad_entry": "list entry without a file name, or without exactly one list of cells",
    "ambiguous": "several images could be meant, or several annotations (or images) mean one image (or file)",
    "listed_twice": "image or region listed twice",
    "rows_disagree": "image whose rows name different patients (or slides)",
    "image_refused": "box of a refused image",
    "not_a_box": "box without four finite numbers",
    "no_area": "point or line, which has no box",
    "outside_regions": "marked cell whose middle lies in no region that is read",
    "degenerate": "box less than a pixel wide or high",
    "outside": "box outside its image",
    "clipped": "box reaching over the edge, cut there and kept",
    "duplicate_box": "same box and label twice",
    "crowd_region": "region marked as a crowd, not a cell",
    "label_left_out": "label mapped to null in label_aliases",
}


@dataclass(frozen=True)
class Refusal:
    """``count`` things of one file that were left out (``clipped``: changed, but kept)."""

    what: What
    file: str
    reason: Reason
    detail: str = ""
    count: int = 1


@dataclass(frozen=True)
class Box:
    """A box as written: x, y, width, height in pixels, not yet checked against the image."""

    bbox: BBox
    label: str
    annotator: str | None = None


@dataclass(frozen=True)
class Found:
    """An image file with its annotations; ``row`` holds what a table says about it (for ``column:`` rules)."""

    path: str
    boxes: tuple[Box, ...] = ()
    row: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    """Width and height that the annotation claims."""
    centre: tuple[float, float] | None = None
    """cells-folders: where the nucleus is."""
    origin: str = ""
    """The file that a frame or region was taken from: what tells patients apart, as ``path`` does else."""
    mpp: float | None = None
    """Microns per pixel, where the file itself is calibrated."""
    labelled: bool | None = None
    """Whether someone looked for cells; None where the kind says it."""


@dataclass
class Reading:
    """What one reader made of a source; ``entries`` and ``boxes`` count all that it met."""

    found: list[Found] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Files other than images that were read: annotations, and originals that frames or regions were taken from."""
    entries: int = 0
    boxes: int = 0
    unpacked: dict[str, Path] = field(default_factory=dict)
    """Pictures made of frames and regions, which count as files of the source while it is read."""

    def refuse_entry(self, file: str, reason: Reason, detail: str = "", boxes: int = 0, count: int = 1) -> None:
        """Leave out an image (or ``count``) that a list names or a file holds, and its boxes with it."""
        self.refused.append(Refusal("entry", file, reason, detail, count))
        self.refuse_boxes(file, "image_refused", reason, boxes)

    def refuse_file(self, file: str, reason: Reason, detail: str = "", boxes: int = 0) -> None:
        """Leave out a file, and its boxes with it."""
        self.refused.append(Refusal("file", file, reason, detail))
        self.refuse_boxes(file, "image_refused", reason, boxes)

    def refuse_boxes(self, file: str, reason: Reason, detail: str = "", count: int = 1) -> None:
        """Leave out boxes."""
        if count:
            self.refused.append(Refusal("box", file, reason, detail, count))
