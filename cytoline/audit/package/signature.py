"""The signature over everything in a package: OpenSSF Model Signing with an elliptic-curve key, offline.

A Sigstore bundle with a DSSE envelope around an in-toto statement.  Source: https://github.com/ossf/model-signing-spec
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cytoline import atomic
from cytoline.audit.package.layout import PUBLIC_KEY, SIGNATURE, fault_of, parse
from cytoline.errors import CytolineError

PASSPHRASE = "CYTOLINE_KEY_PASSPHRASE"
"""Environment variable with the passphrase of an encrypted key."""
OTHER_KEY = "was signed with another key than the one it is checked with"
_LARGEST_KEY = 64 << 10
_LARGEST_SIGNATURE = 64 << 20


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read an EC private key.  Raises ``CytolineError`` where it is none or its passphrase is missing."""
    secret = os.environ.get(PASSPHRASE)
    content = _read_key(path)
    encrypted = b"ENCRYPTED" in content
    if encrypted and not secret:
        raise CytolineError(f"the key {path} needs its passphrase", f"set {PASSPHRASE} to it")
    try:
        key = serialization.load_pem_private_key(content, secret.encode() if secret and encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CytolineError(
            f"{path} is no private key in PEM, or the passphrase is another",
            "give the file that `cytoline audit keygen` wrote, and its passphrase",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CytolineError(f"{path} is no elliptic-curve key", "make one with `cytoline audit keygen`")
    return key


def write_public(key: ec.EllipticCurvePrivateKey, folder: Path) -> None:
    """Put the public half into the package: it says which key to look for, not whether to trust it."""
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    atomic.write_bytes(folder / PUBLIC_KEY, pem)


def key_id(path: Path) -> str:
    """SHA-256 of the public key (DER, SubjectPublicKeyInfo), in hex: what people compare over the telephone."""
    try:
        key = serialization.load_pem_public_key(_read_key(path))
    except (ValueError, UnsupportedAlgorithm):
        raise CytolineError(f"{path} is no public key in PEM", "give the file NAME.pem of approvals/keys") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CytolineError(f"{path} is no elliptic-curve key", "give the file NAME.pem of approvals/keys")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(folder: Path, key: Path, name: str = "") -> None:
    """Write ``package.sig`` over every other file of ``folder``.

    ``name`` is what the signed statement is about: the model, not the folder that its package is being made in.
    """
    from model_signing import signing

    private_key(key)  # says in our words what is wrong with it
    secret = os.environ.get(PASSPHRASE) if b"ENCRYPTED" in _read_key(key) else None
    start: Any = signing.Config  # its constructor has no types
    config = start().use_elliptic_key_signer(private_key=key, password=secret.encode() if secret else None)
    config.set_hashing_config(_named(_everything(), name or folder.name)).sign(folder, folder / SIGNATURE)


def check(folder: Path, public: Path) -> str | None:
    """What is wrong with the signature, in one line; None where it covers this folder as it is."""
    from model_signing import verifying

    path = folder / SIGNATURE
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_SIGNATURE:
        return "the signature is missing or no plain file of a sensible size"
    try:
        parse(path.read_bytes())
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return fault_of(error)
    said = io.StringIO()
    try:
        start: Any = verifying.Config
        config = start().use_elliptic_key_verifier(public_key=public)
        with redirect_stdout(said):  # the library prints warnings
            config.set_hashing_config(_everything()).verify(folder, path)
    except CytolineError:
        raise
    except Exception as error:  # a forged bundle fails in many ways inside protobuf, base64 and cryptography
        return _reason(error)
    return None


def _everything() -> Any:
    """Every file counts but the signature itself; the library would by default skip git's files."""
    from model_signing import hashing

    start: Any = hashing.Config
    return start().use_file_serialization().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _named(config: Any, name: str) -> Any:
    """The same hashing, under this name: the library takes it from the folder and has no option for it."""
    plain = config.hash

    def hashed(*words: Any, **options: Any) -> Any:
        manifest = plain(*words, **options)
        manifest._name = name
        return manifest

    config.hash = hashed
    return config


def _reason(error: Exception) -> str:
    text = str(error)
    if "Key mismatch" in text:
        return OTHER_KEY
    if "Signature mismatch" in text:  # what follows lists names and digests as Python shows bytes
        return "was made over other contents: a file was changed, added or taken away since"
    if isinstance(error, InvalidSignature):
        return "does not fit what it was made over"
    return "is no signature that `cytoline audit export` writes"


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(_LARGEST_KEY)
    except OSError:
        raise CytolineError(
            f"there is no key at {path}", "make one with `cytoline audit keygen project`, or give --key PATH"
        ) from None
