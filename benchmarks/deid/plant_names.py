"""Hiding places around an image: names, times, extended attributes, archives, sidecars, annotations, tool droppings."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

from benchmarks.deid import xmp_text
from benchmarks.deid.canary import Canary, Kind
from benchmarks.deid.ground import swatch
from benchmarks.deid.jpeg_bytes import after_jfif, coded, segment
from benchmarks.deid.place import Place

Write = Callable[[Path, Canary], None]
IMAGE = "image.jpg"


def places() -> list[Place]:
    """Names and times, archives, sidecars."""
    writers: dict[str, Write] = {**_ENTRIES, **_ARCHIVES, **_SIDECARS}
    return [Place(f"names/{name}", "names", write, _CARRIES.get(name, "text")) for name, write in writers.items()]


_CARRIES: dict[str, Kind] = {
    "file-name": "token",
    "folder-name": "token",
    "link-target": "token",
    "zip-member-name": "token",
    "mtime": "moment",
}


def _image(path: Path, canary: Canary) -> None:
    path.write_bytes(coded(swatch(canary.token)))


def _file_name(folder: Path, canary: Canary) -> None:
    _image(folder / f"{canary.name.replace('^', '_')}_{canary.token}.jpg", canary)


def _folder_name(folder: Path, canary: Canary) -> None:
    inner = folder / f"{canary.name.replace('^', '_')}_{canary.token}"
    inner.mkdir()
    _image(inner / IMAGE, canary)


def _mtime(folder: Path, canary: Canary) -> None:
    _image(folder / IMAGE, canary)
    seconds = int(canary.taken.replace(tzinfo=UTC).timestamp())
    os.utime(folder / IMAGE, (seconds, seconds))


def _attribute(folder: Path, canary: Canary) -> None:
    """Raises ``OSError`` where the file system keeps none."""
    _image(folder / IMAGE, canary)
    os.setxattr(folder / IMAGE, "user.xdg.comment", canary.text.encode())


def _link(folder: Path, canary: Canary) -> None:
    _image(folder / IMAGE, canary)
    (folder / "latest.jpg").symlink_to(f"/patients/{canary.token}/image.jpg")


_ENTRIES: dict[str, Write] = {
    "file-name": _file_name,
    "folder-name": _folder_name,
    "mtime": _mtime,
    "extended-attribute": _attribute,
    "link-target": _link,
}


def _zip(folder: Path, canary: Canary, name: str, comment: str, extra: bytes, of_file: str) -> None:
    member = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
    member.extra, member.comment = extra, comment.encode()
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, coded(swatch(canary.token)))
        archive.comment = of_file.encode()
    _image(folder / IMAGE, canary)


def _zip_image(folder: Path, canary: Canary) -> None:
    """The image in the archive has a comment; deflate hides it from a search of the raw bytes."""
    image = after_jfif(coded(swatch(canary.token)), segment(0xFE, canary.text.encode() * 20))
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(IMAGE, (2020, 1, 1, 0, 0, 0)), image, zipfile.ZIP_DEFLATED)
    _image(folder / IMAGE, canary)


def _tar(folder: Path, canary: Canary) -> None:
    """A member's path and its owner's name, in a compressed archive."""
    data, buffer = coded(swatch(canary.token)), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(f"{canary.iso}_{canary.accession}_{canary.token}/{IMAGE}")
        member.size, member.uname = len(data), canary.family
        archive.addfile(member, io.BytesIO(data))
    (folder / "images.tar.gz").write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
    _image(folder / IMAGE, canary)


_ARCHIVES: dict[str, Write] = {
    "zip-member-name": lambda f, c: _zip(f, c, f"{c.token}.jpg", "", b"", ""),
    "zip-member-comment": lambda f, c: _zip(f, c, IMAGE, c.text, b"", ""),
    "zip-member-extra": lambda f, c: _zip(
        f, c, IMAGE, "", struct.pack("<HH", 0x7075, len(c.text)) + c.text.encode(), ""
    ),
    "zip-comment": lambda f, c: _zip(f, c, IMAGE, "", b"", c.text),
    "zip-image-COM": _zip_image,
    "tar-gz-owner": _tar,
}


def _beside(name: str, content: Callable[[Canary], bytes]) -> Write:
    """An image and one file next to it."""

    def write(folder: Path, canary: Canary) -> None:
        _image(folder / IMAGE, canary)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content(canary))

    return write


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def _coco(image: str = IMAGE, contributor: str = "", annotator: str = "", url: str = "") -> bytes:
    photo = {"id": 1, "file_name": image, "width": 320, "height": 240, "coco_url": url}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0}
    return _json(
        {
            "info": {"contributor": contributor},
            "images": [photo],
            "annotations": [{**box, "attributes": {"annotator": annotator}} if annotator else box],
            "categories": [{"id": 1, "name": "NILM"}],
        }
    )


def _voc(folder: str = "images", file: str = IMAGE, path: str = "", annotator: str = "") -> bytes:
    box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50</ymax></bndbox>"
    size = "<size><width>320</width><height>240</height><depth>3</depth></size>"
    head = f"<folder>{folder}</folder><filename>{file}</filename><path>{path}</path>"
    source = f"<source><annotation>{annotator}</annotation></source>"
    return f"<annotation>{head}{source}{size}<object><name>NILM</name>{box}</object></annotation>".encode()


def _labelme(path: str = IMAGE, data: bytes | None = None, description: str = "") -> bytes:
    shape = {"label": "NILM", "points": [[10, 10], [50, 50]], "shape_type": "rectangle", "description": description}
    encoded = base64.b64encode(data).decode() if data else None
    return _json({"version": "5", "shapes": [shape], "imagePath": path, "imageData": encoded})


def _labelme_image(canary: Canary) -> bytes:
    return _labelme(data=after_jfif(coded(swatch(canary.token)), segment(0xFE, canary.text.encode())))


def _apple_double(canary: Canary) -> bytes:
    """``._image.jpg``: Finder's comment in an entry of type 4."""
    text = canary.text.encode()
    return struct.pack(">II16xH", 0x00051607, 0x00020000, 1) + struct.pack(">III", 4, 38, len(text)) + text


_OLE = bytes.fromhex("d0cf11e0a1b11ae1")

_SIDECARS: dict[str, Write] = {
    "sidecar-xmp": _beside("image.xmp", lambda c: xmp_text.packet(c.text)),
    "sidecar-json": _beside("image.json", lambda c: _json({"patient": c.text})),
    "sidecar-xml": _beside("image.xml", lambda c: f"<scan><operator>{c.text}</operator></scan>".encode()),
    "sidecar-txt": _beside("readme.txt", lambda c: c.text.encode("utf-16")),
    "csv-column": _beside("labels.csv", lambda c: f"file,label,reader\n{IMAGE},NILM,{c.text}\n".encode()),
    "csv-header": _beside("labels.csv", lambda c: f"file,label,{c.text}\n{IMAGE},NILM,1\n".encode()),
    "csv-comment": _beside("labels.csv", lambda c: f"# {c.text}\nfile,label\n{IMAGE},NILM\n".encode()),
    "coco-file-name": _beside("coco.json", lambda c: _coco(image=f"{c.text}/{IMAGE}")),
    "coco-url": _beside(
        "coco.json", lambda c: _coco(url="https://host/" + "".join(f"%{o:02X}" for o in c.text.encode()))
    ),
    "coco-contributor": _beside("coco.json", lambda c: _coco(contributor=c.text)),
    "coco-annotator": _beside("coco.json", lambda c: _coco(annotator=c.text)),
    "labelme-image-data": _beside("image.json", _labelme_image),
    "labelme-image-path": _beside("image.json", lambda c: _labelme(path=f"..\\{c.text}\\{IMAGE}")),
    "labelme-description": _beside("image.json", lambda c: _labelme(description=c.text)),
    "voc-folder": _beside("image.xml", lambda c: _voc(folder=c.text)),
    "voc-filename": _beside("image.xml", lambda c: _voc(file=c.text)),
    "voc-path": _beside("image.xml", lambda c: _voc(path=f"C:\\{c.text}\\{IMAGE}")),
    "voc-annotator": _beside("image.xml", lambda c: _voc(annotator=c.text)),
    "yolo-comment": _beside("image.txt", lambda c: f"0 0.5 0.5 0.1 0.1 # {c.text}\n".encode()),
    "dvc-dir": _beside("data.dir", lambda c: _json([{"md5": "0" * 32, "relpath": f"{c.text}/{IMAGE}"}])),
    "mlflow-user": _beside("mlruns/0/run/meta.yaml", lambda c: f"user_id: {c.text}\nstatus: 3\n".encode()),
    "mlflow-source": _beside("mlruns/0/run/tags/mlflow.source.name", lambda c: f"/home/{c.text}/train.py".encode()),
    "mlflow-artifact": _beside("mlruns/0/run/meta.yaml", lambda c: f"artifact_uri: file:///{c.text}\n".encode()),
    "DS_Store": _beside(".DS_Store", lambda c: b"\0\0\0\x01Bud1" + c.text.encode("utf-16-be")),
    "Thumbs.db": _beside("Thumbs.db", lambda c: _OLE.ljust(512, b"\0") + c.text.encode("utf-16-le")),
    "AppleDouble": _beside("._image.jpg", _apple_double),
    "desktop.ini": _beside("desktop.ini", lambda c: f"[.ShellClassInfo]\r\nInfoTip={c.text}\r\n".encode()),
    "pickle-path": _beside("cache.pkl", lambda c: pickle.dumps({"path": f"/srv/{c.text}/{IMAGE}"}, protocol=4)),
}
