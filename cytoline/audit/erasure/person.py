"""Who the person is: from a pseudonym to raw ids, image ids, file hashes and names, over all versions.

The way back from a pseudonym needs the key (or crosswalk) that made it: raw ids are hashed again and compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cytoline.audit.erasure.incoming import PRIVATE, Split, divide
from cytoline.audit.erasure.marks import Marks
from cytoline.audit.erasure.stores import Stores
from cytoline.crosswalk import Crosswalk
from cytoline.errors import CytolineError
from cytoline.manifest import MANIFEST
from cytoline.memo import Memo
from cytoline.params import read_params
from cytoline.pseudonyms import Names, Pseudonyms, load_key, synthetic_key
from cytoline.shards import INDEX
from cytoline.sources.params import INCOMING, CollectParams
from cytoline.sources.schema import SOURCE_FILE
from cytoline.splits import SPLIT_FILE

_TABLES = (MANIFEST, INDEX, SPLIT_FILE)


@dataclass
class Person:
    """What is known of one person; grows while versions are read."""

    pseudonym: str
    names: Names
    raw: set[str] = field(default_factory=set, repr=False)
    codes: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set, repr=False)
    others: set[str] = field(default_factory=set, repr=False)
    images: set[str] = field(default_factory=set)
    """Image ids, clean and raw."""
    sources: dict[str, Split] = field(default_factory=dict, repr=False)
    """The work tree's sources that hold files of the person."""
    versions: dict[str, Split] = field(default_factory=dict, repr=False)
    """md5 of a listing of an incoming source -> its division."""
    parts: dict[str, str] = field(default_factory=dict)
    """md5 of a split table -> the part that the person is in."""
    unread: set[str] = field(default_factory=set)
    """Old versions of sources that could not be read whole."""
    _known: dict[str, bool] = field(default_factory=dict, repr=False)

    def is_theirs(self, raw: str) -> bool:
        """Whether a raw patient id is this person's."""
        if raw not in self._known:
            self._known[raw] = bool(raw) and self.names.of("patient", raw) == self.pseudonym
        if self._known[raw]:
            self.raw.add(raw)
        return self._known[raw]

    def marks(self) -> Marks:
        """All that is known, for searching."""
        return Marks(
            frozenset({self.pseudonym, *self.codes, *self.images}),
            frozenset(self.digests),
            frozenset(self.words | self.raw),
            frozenset(self.others - {self.pseudonym} - self.images),
        )

    def learn_row(self, row: dict[str, Any]) -> None:
        """A row of a manifest, raw or clean, of a shard index or of a split table."""
        image, sha256, patient = str(row.get("image_id", "")), str(row.get("sha256", "")), row.get("patient")
        if isinstance(patient, str):
            if patient == self.pseudonym:
                self._mine(image, sha256, str(row.get("slide", "")))
                return
            if self.is_theirs(patient):
                self._mine_raw(image, sha256, patient, str(row.get("slide", "")))
                return
        elif str(row.get("name", ""))[:32] in self.images:
            self.digests.add(sha256)
            return
        self.others |= {code for code in (image[:32], sha256) if len(code) >= 32}

    def learn_picture(self, source: str, sha256: str, patient: str, slide: str) -> None:
        """A picture of an incoming source."""
        if self.is_theirs(patient):
            self._mine_raw(hashlib.sha256(f"{source}|{sha256}".encode()).hexdigest()[:32], sha256, patient, slide)
        else:
            self.others.add(sha256)

    def _mine(self, image: str, sha256: str, slide: str) -> None:
        if image:
            self.images.add(image[:32])
        self.digests |= {sha256} if sha256 else set()
        self.codes |= {slide} if len(slide) == 32 else set()

    def _mine_raw(self, image: str, sha256: str, patient: str, slide: str) -> None:
        self.images |= {image, self.names.of("file", image)}
        self.digests.add(sha256)
        self.codes.add(self.names.of("slide", f"{patient}\0{slide}"))


def find_person(pseudonym: str, stores: Stores) -> Person:
    """Read every version of every manifest and source, from the current folder, the cache and the remotes.

    Raises ``CytolineError`` where the person is a phantom's, or the key is missing.
    """
    tables = list(_tables(stores))
    refuse_phantom(pseudonym, [row for name, rows in tables if name == MANIFEST for row in rows])
    person = Person(pseudonym, _names())
    _learn_sources(person, stores)
    for name in (MANIFEST, INDEX):  # ids first, then what is packed under them
        for kind, rows in tables:
            if kind == name:
                for row in rows:
                    person.learn_row(row)
    _learn_parts(person, stores)
    return person


def refuse_early(pseudonym: str) -> None:
    """What the work tree alone tells, before anything is searched."""
    if len(pseudonym) != 32 or set(pseudonym) - set("0123456789abcdef"):
        raise CytolineError("that is no pseudonym", "it is the 32 hexadecimal digits of `patient` in data/clean")
    for path in sorted(Path("data").glob(f"*/{MANIFEST}")):
        refuse_phantom(pseudonym, _rows(path.read_bytes()))


def refuse_phantom(pseudonym: str, rows: list[dict[str, Any]]) -> None:
    """A drawn person is nobody, and would be drawn again."""
    phantoms = {path.parent.name for path in INCOMING.glob(f"*/{SOURCE_FILE}") if _kind(path) == "phantom"}
    public = Pseudonyms(synthetic_key())
    for row in rows:
        patient = row.get("patient")
        if row.get("source") in phantoms and pseudonym in (patient, public.of("patient", str(patient))):
            raise CytolineError(
                "this pseudonym belongs to a phantom: nobody, drawn anew by every `dvc repro`",
                "take the phantom out of collect.sources if it is not wanted; to rehearse, `cytoline add` a source",
            )


def _kind(path: Path) -> str:
    import yaml

    try:
        return str(yaml.safe_load(path.read_bytes())["kind"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return ""


def _names() -> Names:
    if (read_params().get("anonymize") or {}).get("pseudonyms") == "random":
        return Crosswalk.load()  # asked about strangers it draws codes, which are never saved here
    return Pseudonyms(load_key())


def _tables(stores: Stores) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and rows of every manifest, shard index and split table that there is."""
    for name in _TABLES:
        for _, content in stores.named(name):
            yield name, _rows(content)
        for path in sorted(Path("data").glob(f"*/{name}")):
            yield name, _rows(path.read_bytes())


def _rows(content: bytes) -> list[dict[str, Any]]:
    rows = []
    for line in content.decode("utf-8", "replace").split("\n"):
        try:
            row = json.loads(line) if line else None
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _learn_sources(person: Person, stores: Stores) -> None:
    params, memo = CollectParams.load(), Memo()
    PRIVATE.mkdir(exist_ok=True)
    for path in sorted(INCOMING.glob(f"*/{SOURCE_FILE}")):
        found = divide(path.parent.name, path.parent, person.is_theirs, memo, params)
        if found is not None:
            _learn_source(person, found)
            if found.mine or found.rewritten:
                person.sources[found.source] = found
    names = source_names()
    for md5, rows in stores.listings().items():
        if SOURCE_FILE in rows:
            _learn_version(person, stores, md5, rows, names.get(md5, ""), memo, params)


def _learn_version(
    person: Person, stores: Stores, md5: str, rows: dict[str, str], name: str, memo: Memo, params: CollectParams
) -> None:
    """A source as it was: laid out in a temporary folder from DVC's objects."""
    places = stores.md5s()
    with TemporaryDirectory(prefix=".version-", dir=PRIVATE) as temporary:
        folder = Path(temporary)
        for path, inner in rows.items():
            target = folder / path
            if ".." in Path(path).parts or Path(path).is_absolute() or inner not in places:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            store, place = places[inner]
            target.write_bytes(store.read(place))
        try:
            found = divide(name, folder, person.is_theirs, memo, params)
        except CytolineError:
            found = None
            person.unread.add(md5)
    if found is not None:
        _learn_source(person, found)
        person.versions[md5] = found


def _learn_source(person: Person, found: Split) -> None:
    for patient, slide in found.slides:
        person.codes.add(person.names.of("slide", f"{patient}\0{slide}"))
    for sha256, patient in found.images.items():
        person.learn_picture(found.source, sha256, patient, "")
    person.raw |= found.patients
    person.words |= {path for path in found.mine if "/" in path}


def _learn_parts(person: Person, stores: Stores) -> None:
    for md5, content in stores.named(SPLIT_FILE):
        for row in _rows(content):
            if row.get("patient") == person.pseudonym:
                person.parts[md5] = str(row.get("split"))


def source_names() -> dict[str, str]:
    """md5 of a source's listing -> the source's name, from every pointer in git's history."""
    from cytoline.audit.revision import Revision, commits

    revisions = [Revision.work_tree(), *(Revision.at(commit) for commit in commits(Path(), "*.dvc"))]
    return {item.md5: Path(item.path).name for revision in revisions for item in revision.sources}
