"""Which words a de-identified manifest may hold: organs, stains, classes of the project's taxonomies, its sources.

A list, because a pattern for "a word" lets every name through.  Whoever needs others lists them (`--words`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cytoline.errors import CytolineError
from cytoline.taxonomy import TAXONOMIES, Taxonomy

INCOMING = Path("data/incoming")
"""Each folder in it is a source; its name was chosen by whoever keeps the archive."""

OTHER = "other"
"""What the anonymize stage writes in place of an organ or a stain that is not on the list."""

_ORGANS = """
    adrenal anus ascites bladder blood bone bone_marrow brain breast bronchus cervix colon conjunctiva
    csf cerebrospinal_fluid effusion endometrium esophagus eye gallbladder heart kidney larynx liver lung lymph_node
    mediastinum mixed mouth nasopharynx oesophagus oral ovary pancreas pericardium peritoneum pleura prostate rectum
    salivary_gland sarcoma serous skin soft_tissue spleen sputum stomach testis thymus thyroid tongue ureter urine
    urinary_tract uterus vagina vulva unknown other none
"""
_STAINS = """
    acridine_orange alcian_blue autofluorescence brightfield congo_red cytokeratin dapi diff_quik feulgen fluorescence
    giemsa gram grocott h&e h_e haematoxylin_eosin hansel he hematoxylin_eosin hemacolor ihc immunocytochemistry ki67
    leishman liquid_based may_gruenwald_giemsa may_grunwald_giemsa mgg methylene_blue mixed modified_giemsa oil_red_o
    p16 p16_ki67 pap papanicolaou pas perls phase_contrast prussian_blue romanowsky shorr sudan surepath synthetic
    thinprep toluidine_blue unstained wright wright_giemsa ziehl_neelsen none unknown other
"""


ORGANS = frozenset(_ORGANS.split())
STAINS = frozenset(_STAINS.split())


@dataclass(frozen=True)
class Vocabulary:
    """The words of one project."""

    labels: frozenset[str] = frozenset()
    """Folded to lower case."""
    sources: frozenset[str] = frozenset()
    further: frozenset[str] = frozenset()

    def allows(self, field: str, word: str) -> bool:
        """Whether ``word`` may stand in ``field`` (organ, stain, label or source)."""
        listed = {"organ": ORGANS, "stain": STAINS, "label": self.labels, "source": self.sources}[field]
        shown = plain(word) if field in ("organ", "stain") else word.casefold() if field == "label" else word
        return shown in listed or word in self.further


def plain(word: str) -> str:
    """Spellings of an organ or stain that mean the same: lower case, one underscore between words."""
    return "_".join(word.lower().replace("-", " ").replace("_", " ").split())


def listed_or_other(word: str, listed: frozenset[str]) -> str:
    """The word as it is if it is on the list, else ``other``; an empty one stays empty."""
    return word if not word or (plain(word) in listed and len(word) <= 40) else OTHER


def load_vocabulary(
    further: Iterable[str] = (), taxonomies: Path = TAXONOMIES, incoming: Path = INCOMING
) -> Vocabulary:
    """What the project in this folder names; places that are missing add nothing."""
    labels: set[str] = set()
    for path in sorted(taxonomies.glob("*.yaml")):
        try:
            taxonomy = Taxonomy.load(path.stem, taxonomies)
        except CytolineError:  # somebody else's to report; no word of it is allowed
            continue
        labels |= {word.casefold() for word in (*taxonomy.classes, *taxonomy.aliases)}
    sources = {path.name for path in incoming.iterdir() if path.is_dir()} if incoming.is_dir() else set()
    return Vocabulary(frozenset(labels), frozenset(sources), frozenset(further))
