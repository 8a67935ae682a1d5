"""Lines of a hash chain that are signed, each together with its place in the chain."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from cytoline.audit.policy import Hex
from cytoline.audit.signing import PUBLIC, key_id, sign_bytes, verify_bytes
from cytoline.deid.review.chain import GENESIS, chained
from cytoline.errors import CytolineError
from cytoline.manifest import json_line

_STAMP = "%Y-%m-%dT%H:%M:%SZ"
Time = Annotated[str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}Z$")]
"""UTC, to the second."""


class Signed(BaseModel):
    """A line that holds a signature over all the rest of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Hex
    """The id of the key that signed."""
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/=]{8,200}$")]
    """DER in base64."""


Row = TypeVar("Row", bound=Signed)


def sign_row(kind: type[Row], fields: Mapping[str, Any], before: Sequence[Row], context: bytes, private: Path) -> Row:
    """A new line of a chain that holds ``before``.  ``context`` says what it is: a seal approves nothing."""
    # A placeholder first: what is signed is what the checked line says, not what was handed in.
    unsigned = kind.model_validate({**fields, "signature": "A" * 8})
    signature = sign_bytes(_content(unsigned, _head(before), context), private)
    return kind.model_validate({**fields, "signature": base64.b64encode(signature).decode("ascii")})


def signature_faults(row: Signed, link: str, top: Path, context: bytes, owner: str) -> list[str]:
    """Why a line's signature is not that of ``owner``; empty where it is.  ``link`` is the hash of the line before."""
    public = top / PUBLIC / f"{owner}.pem"
    where = f"{PUBLIC.as_posix()}/{owner}.pem"
    try:
        if key_id(public) != row.key:
            return [f"{where} is another key than the one that signed"]
        signature = base64.b64decode(row.signature, validate=True)
        good = verify_bytes(_content(row, link, context), signature, public)
    except (CytolineError, binascii.Error):
        return [f"{where} cannot be read"]
    return [] if good else [f"the signature is not that of {where}"]


def links_of(rows: Sequence[BaseModel]) -> list[str]:
    """For each line the hash of the line before it, and at the end that of the last line (the chain's head)."""
    lines = chained(rows).encode().split(b"\n")[:-1]
    return [GENESIS, *(hashlib.sha256(line + b"\n").hexdigest() for line in lines)]


def now() -> str:
    """The time as lines hold it."""
    return datetime.datetime.now(datetime.UTC).strftime(_STAMP)


def _head(rows: Sequence[BaseModel]) -> str:
    return links_of(rows)[-1]


def _content(row: Signed, link: str, context: bytes) -> bytes:
    fields = row.model_dump(mode="json")
    del fields["signature"]
    return context + json_line({**fields, "prev": link}).encode()
