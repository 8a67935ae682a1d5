"""Keys and signatures of people and of the project: ECDSA with P-256 and SHA-256 (FIPS 186-5), PEM, offline.

A private key stays outside git, with mode 0600 and, if wanted, a passphrase; the public one lies in git under
``approvals/keys``.  A key goes by the SHA-256 of its public half (DER, SubjectPublicKeyInfo), never by its file's name.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cytoline import atomic
from cytoline.errors import CytolineError

PRIVATE = Path(".cytoline/keys")
PUBLIC = Path("approvals/keys")
PASSPHRASE = "CYTOLINE_KEY_PASSPHRASE"
"""Environment variable that is read before anyone is asked."""
PROJECT = "project"
"""The name of the first key that seals; its successors are ``project-...``.  Nobody can approve with such a name."""
NAME = r"^[a-z0-9][a-z0-9._-]{1,31}$"
_LARGEST = 16_384
_DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
_PEM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def check_name(name: str) -> str:
    """A handle that can be a file's name.  Raises ``CytolineError``."""
    if not re.fullmatch(NAME, name):
        raise CytolineError("that is no handle", "2 to 32 of a-z, 0-9, '.', '_' and '-', the first a letter or digit")
    return name


def is_project_key(name: str) -> bool:
    """Whether a key of that name is the project's own."""
    return name == PROJECT or name.startswith(f"{PROJECT}-")


def make_key(private: Path, public: Path, passphrase: str | None = None) -> str:
    """Write a new pair, never over another; give the key's id.  ``private`` must not lie where git would take it."""
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise CytolineError(f"{path} exists already", "choose another name; a key is never replaced in place")
    _refuse_tracked(private)
    key = ec.generate_private_key(ec.SECP256R1())
    hidden: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The mode is set as the file is made: there is no moment at which others can read it.
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    atomic.write_bytes(public, key.public_key().public_bytes(*_PEM))
    return _id_of(key.public_key())


def sign_bytes(content: bytes, key: Path, passphrase: str | None = None) -> bytes:
    """A signature (DER) with the private key in the file ``key``.

    Where the key has a passphrase and none is given, the environment is read, then the person at the terminal asked.
    """
    return _private(key, passphrase).sign(content, ec.ECDSA(hashes.SHA256()))


def verify_bytes(content: bytes, signature: bytes, public: Path) -> bool:
    """Whether the owner of ``public`` signed ``content``.  Raises ``CytolineError`` where ``public`` is no such key."""
    try:
        _public(public).verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def key_id(public: Path) -> str:
    """SHA-256 of the public key itself: the same for one key under two names."""
    return _id_of(_public(public))


def private_key_id(key: Path, passphrase: str | None = None) -> str:
    """The id of the pair that a private key belongs to."""
    return _id_of(_private(key, passphrase).public_key())


def _id_of(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(key.public_bytes(*_DER)).hexdigest()


def _public(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(_read(path, "public"))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CytolineError(f"{path} is no public key on the curve P-256", f"restore it: `git checkout -- {path}`")
    return key


def _private(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    content = _read(path, "private")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise CytolineError(
            f"the private key {path} can be read by others (mode {mode:04o})",
            "`chmod 600` it; if others may have read it, make a new one",
        )
    secret = passphrase or (_asked() if b"ENCRYPTED" in content else None)
    try:
        key = serialization.load_pem_private_key(content, secret.encode() if secret else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CytolineError(
            f"{path} is no private key, or the passphrase is another",
            "give the file that `cytoline audit keygen` wrote, and its passphrase",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CytolineError(f"{path} is a key of another kind", "make one with `cytoline audit keygen`")
    return key


def _asked() -> str:
    given = os.environ.get(PASSPHRASE)
    if given:
        return given
    if not sys.stdin.isatty():
        raise CytolineError("this key needs its passphrase", f"set {PASSPHRASE}, or run it in a terminal")
    return getpass.getpass("passphrase: ")


def _read(path: Path, which: str) -> bytes:
    try:
        # Without waiting for a writer, should it be a pipe.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise OSError
            content = handle.read(_LARGEST + 1)
    except OSError:
        raise CytolineError(
            f"there is no {which} key {path}", "make a pair with `cytoline audit keygen NAME`, or name yours with --key"
        ) from None
    if len(content) > _LARGEST:
        raise CytolineError(f"{path} is too large for a key", "give the file that `cytoline audit keygen` wrote")
    return content


def _refuse_tracked(path: Path) -> None:
    """Inside a work tree, a private key may only be where git ignores it (``.cytoline`` is)."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    asked = ["git", "-C", str(folder), "check-ignore", "--quiet", "--", str(path.absolute())]
    try:
        ignored = subprocess.run(asked, capture_output=True, timeout=60, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return
    if ignored == 1:  # 0: ignored; 1: git would take it; 128: no repository
        raise CytolineError(
            f"git would take {path} into a commit", "put private keys below .cytoline/keys, or outside of the project"
        )
