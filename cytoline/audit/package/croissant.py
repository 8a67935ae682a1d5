"""``croissant.json``: the data set behind the model in Croissant 1.0.

The two tables are in the package, with their hashes; each image is a row with its sha256.  Pixels are not in it.
Source: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any

from cytoline.audit.package.contents import MANIFEST_COPY, SPLIT_COPY
from cytoline.audit.package.dataset import NOT_STATED, Dataset

_LINES = "application/jsonlines"
_IMAGE = {
    "image_id": ("TEXT", "name of the image; a pseudonym"),
    "file": ("TEXT", "name of the file in data/clean/images"),
    "sha256": ("TEXT", "sha256 of the de-identified file"),
    "width": ("INTEGER", "pixels"),
    "height": ("INTEGER", "pixels"),
    "patient": ("TEXT", "pseudonym of the patient"),
    "slide": ("TEXT", "pseudonym of the slide"),
    "source": ("TEXT", "which source it came from"),
    "organ": ("TEXT", "organ"),
    "stain": ("TEXT", "stain"),
    "role": ("TEXT", "field or single cell"),
}
_SPLIT = {
    "image_id": ("TEXT", "name of the image"),
    "patient": ("TEXT", "pseudonym of the patient"),
    "split": ("TEXT", "train, val or test"),
}


def croissant(data: Dataset, files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document, made by ``mlcroissant``."""
    with contextlib.redirect_stderr(io.StringIO()):  # the library warns of every recommended field on import
        import mlcroissant as mlc

    tables = {"manifest": MANIFEST_COPY, "split": SPLIT_COPY}
    licences = sorted({one.licence for one in data.sources})
    images, patients = len(data.records), len({record.patient for record in data.records})
    metadata = mlc.Metadata(
        name=f"cytoline-{data.clean.md5[:12]}",
        description=(
            f"{images} de-identified cytology images of {patients} patients "
            f"(DVC {data.clean.md5}), split by patient (DVC {data.split.md5})"
        ),
        license=licences or [NOT_STATED],
        version=f"0.0.0+{data.clean.md5.removesuffix('.dir')}",
        date_published=data.release.time.replace(tzinfo=None),
        conforms_to=["http://mlcommons.org/croissant/1.0"],
        cite_as=f"data set md5:{data.clean.md5}",
        creators=[mlc.Organization(name="stated in approvals/intended_use.yaml")],
        url=f"urn:md5:{data.clean.md5.removesuffix('.dir')}",
        distribution=[
            mlc.FileObject(
                id=name, name=name, content_url=path, encoding_formats=[_LINES], sha256=str(files[path]["sha256"])
            )
            for name, path in tables.items()
        ],
        record_sets=[_records(mlc, "images", "manifest", _IMAGE), _records(mlc, "parts", "split", _SPLIT)],
    )
    document: dict[str, Any] = json.loads(json.dumps(metadata.to_json(), default=str))
    return document


def _records(mlc: Any, name: str, table: str, columns: Mapping[str, tuple[str, str]]) -> Any:
    fields = [
        mlc.Field(
            id=f"{name}/{column}",
            name=column,
            description=meaning,
            data_types=getattr(mlc.DataType, kind),
            source=mlc.Source(file_object=table, extract=mlc.Extract(column=column)),
        )
        for column, (kind, meaning) in columns.items()
    ]
    return mlc.RecordSet(id=name, name=name, fields=fields)
