"""Keys: what they sign, what they refuse, where they may lie.  And the Merkle tree against the RFC's own vectors."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoline.audit import merkle
from cytoline.audit.signing import PASSPHRASE, check_name, key_id, make_key, private_key_id, sign_bytes, verify_bytes
from cytoline.errors import CytolineError

TEXT = b"one model"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    make_key(tmp_path / "private.pem", tmp_path / "public.pem")
    return tmp_path / "private.pem", tmp_path / "public.pem"


def test_a_signature_holds_for_its_content_and_key_only(pair: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = pair
    signature = sign_bytes(TEXT, private)
    assert verify_bytes(TEXT, signature, public)
    assert not verify_bytes(TEXT + b".", signature, public)
    assert not verify_bytes(TEXT, signature[:-1] + bytes([signature[-1] ^ 1]), public)
    assert not verify_bytes(TEXT, b"", public)
    make_key(tmp_path / "b.pem", tmp_path / "b.pub")
    assert not verify_bytes(TEXT, signature, tmp_path / "b.pub")
    assert key_id(public) == private_key_id(private) != key_id(tmp_path / "b.pub")


def test_a_private_key_is_private_and_is_never_replaced(pair: tuple[Path, Path]) -> None:
    private, public = pair
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with pytest.raises(CytolineError, match="exists already"):
        make_key(private, public)
    private.chmod(0o640)
    with pytest.raises(CytolineError, match="read by others"):
        sign_bytes(TEXT, private)


def test_git_never_takes_a_private_key(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text(".cytoline/\n")
    with pytest.raises(CytolineError, match="git would take"):
        make_key(tmp_path / "keys/anna.pem", tmp_path / "anna.pub")
    assert not (tmp_path / "anna.pub").exists()
    make_key(tmp_path / ".cytoline/keys/anna.pem", tmp_path / "anna.pub")


def test_a_passphrase_is_needed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub"
    make_key(private, public, "correct horse")
    assert b"ENCRYPTED" in private.read_bytes()
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(CytolineError, match="needs its passphrase"):
        sign_bytes(TEXT, private)
    with pytest.raises(CytolineError, match="passphrase is another"):
        sign_bytes(TEXT, private, "wrong")
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    assert verify_bytes(TEXT, sign_bytes(TEXT, private), public)


FORM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
HOSTILE = {
    "another curve": lambda: ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(*FORM),
    "another kind": lambda: rsa.generate_private_key(65537, 1024).public_key().public_bytes(*FORM),
    "no key": lambda: b"-----BEGIN PUBLIC KEY-----\n\xff\xfe\n-----END PUBLIC KEY-----\n",
    "nothing": lambda: b"",
    "very large": lambda: b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 50_000_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_such_key_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    path.write_bytes(HOSTILE[what]())
    with pytest.raises(CytolineError):
        verify_bytes(TEXT, b"x", path)


def test_a_pipe_is_no_key_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pem")
    with pytest.raises(CytolineError):
        key_id(tmp_path / "x.pem")


@pytest.mark.parametrize("name", ["", "a", "../anna", "Anna", "a/b", "a\nb", ".hidden", "x" * 40])
def test_a_name_that_is_no_handle_is_refused(name: str) -> None:
    with pytest.raises(CytolineError):
        check_name(name)


def test_roots_are_those_of_rfc_6962() -> None:
    # From the test vectors of the Certificate Transparency project.
    words = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    starts = [
        "e3b0c442",
        "6e340b9c",
        "fac54203",
        "aeb6bcfe",
        "d37ee418",
        "4e3bbb1f",
        "76e67dad",
        "ddb89be4",
        "5dc9da79",
    ]
    leaves = [bytes.fromhex(word) for word in words]
    assert [merkle.root(leaves[:n])[:8] for n in range(9)] == starts


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.data())
def test_other_leaves_have_another_root(leaves: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:place], leaves[place] + b"x", *leaves[place + 1 :]]
    others = [changed, leaves[:-1], [*leaves, b""]]
    # A node in the place of a leaf (second preimage) is what the two first bytes are for.
    if len(leaves) == 2:
        hashes = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
        others.append([b"".join(hashes)])
    assert merkle.root(leaves) not in [merkle.root(other) for other in others]
