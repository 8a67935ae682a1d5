"""A package holds what its documents say, verifies elsewhere, and every kind of damage is found and named."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.audit.validators import validator_failures
from cytoline.audit.package import layout, signature
from cytoline.audit.package.export import Exported, export
from cytoline.audit.package.layout import Finding, is_package
from cytoline.audit.package.release import find
from cytoline.audit.package.verify import trust, verify
from cytoline.cli import app
from cytoline.errors import CytolineError
from tests.cytoline.audit.released_project import PATIENT, commit, make_key, make_project

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("released") / "project", use="Research <b>only</b> & [no] more.")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_key(tmp_path_factory.mktemp("keys") / "project.pem")


@pytest.fixture(scope="module")
def made(project: Path, keys: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    folder = tmp_path_factory.mktemp("out") / "other" / ".." / "a package, 50%20 #1 ü"
    return folder, export("models/classifier", folder, keys[0], project)


@pytest.fixture
def package(made: tuple[Path, Exported], tmp_path: Path) -> Path:
    """A copy in an empty folder elsewhere."""
    return Path(shutil.copytree(made[0], tmp_path / "elsewhere"))


def reindexed(package: Path) -> None:
    """What a forger without the key does: list the files anew."""
    index = json.loads((package / layout.INDEX).read_bytes())
    index["files"] = layout.index_of(package)
    (package / layout.INDEX).write_bytes(layout.pretty(index))


def change(package: Path, name: str, edit: Any) -> None:
    document = json.loads((package / name).read_bytes())
    edit(document)
    (package / name).write_bytes(layout.pretty(document))


def files_of(findings: list[Finding]) -> set[str]:
    return {one.file for one in findings}


def test_an_intact_package_verifies_without_the_repository(package: Path, keys: tuple[Path, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from cytoline.audit.package.verify import verify;"
        "print(verify(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(package), str(keys[1])],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert is_package(package)


def test_every_single_file_is_guarded(package: Path, keys: tuple[Path, Path]) -> None:
    names = [name for name, _ in layout.walk(package)]
    assert len(names) > 15
    for name in names:
        before = (package / name).read_bytes()
        (package / name).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert name in files_of(verify(package, keys[1])), name
        (package / name).write_bytes(before)
    assert verify(package, keys[1]) == []


def test_missing_extra_and_linked_files_are_named(package: Path, keys: tuple[Path, Path]) -> None:
    (package / ".gitignore").write_text("sneaked in")
    (package / "model" / "config.py").unlink()
    assert {".gitignore", "model/config.py"} <= files_of(verify(package, keys[1]))
    (package / ".gitignore").unlink()
    (package / "model" / "config.py").symlink_to("/etc/passwd")
    assert verify(package, keys[1]) == [Finding("model/config.py", "is no plain file")]


def test_a_folder_without_a_file_is_named(package: Path, keys: tuple[Path, Path]) -> None:
    (package / "data" / "patient 7" / "deeper").mkdir(parents=True)
    assert files_of(verify(package, keys[1])) == {"data/patient 7", "data/patient 7/deeper"}


def test_the_signature_says_in_words_what_it_does_not_cover(package: Path, keys: tuple[Path, Path]) -> None:
    (package / "model" / "ü.py").write_text("other")
    assert Finding(
        layout.SIGNATURE, "was made over other contents: a file was changed, added or taken away since"
    ) in verify(package, keys[1])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"{", "is no JSON (line 1, column 2)"),
        (b'{"a": 1, "a": 1}', "holds a key twice"),
        (b"[NaN]", "holds NaN, which is no JSON"),
        (b"[1, \xff]", "is no UTF-8 text (byte 5)"),
    ],
)
def test_the_cause_is_said_in_words(content: bytes, what: str, package: Path, keys: tuple[Path, Path]) -> None:
    signed = (package / layout.SIGNATURE).read_bytes()
    (package / layout.SIGNATURE).write_bytes(content)
    assert verify(package, keys[1]) == [Finding(layout.SIGNATURE, what)]
    (package / layout.SIGNATURE).write_bytes(signed)
    (package / layout.INDEX).write_bytes(content)
    assert verify(package, keys[1]) == [Finding(layout.INDEX, f"{layout.INDEX} {what}")]


def test_the_signed_statement_names_the_model(made: tuple[Path, Exported]) -> None:
    """And not the folder that the package was made in."""
    envelope = json.loads((made[0] / layout.SIGNATURE).read_bytes())["dsseEnvelope"]
    (subject,) = json.loads(base64.b64decode(envelope["payload"]))["subject"]
    assert subject["name"] == "shop-classifier"


def test_a_change_with_a_new_index_falls_by_the_signature(package: Path, keys: tuple[Path, Path]) -> None:
    (package / "metrics" / "classifier.json").write_text('{"balanced_accuracy": 0.99}')
    reindexed(package)
    assert files_of(verify(package, keys[1])) == {layout.SIGNATURE}


def test_a_forger_with_a_key_of_their_own_is_only_believed_by_their_own_key(
    package: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    forged, forged_public = make_key(tmp_path / "forger.pem")
    (package / layout.SIGNATURE).unlink()
    signature.write_public(signature.private_key(forged), package)
    change(package, layout.INDEX, lambda index: index["files"].pop(layout.PUBLIC_KEY))
    shutil.copy(forged_public, package / layout.PUBLIC_KEY)
    change(package, layout.CRATE, lambda crate: _describe(crate, package, layout.PUBLIC_KEY))
    reindexed(package)
    signature.sign(package, forged)
    assert [one for one in verify(package, None) if one.file != layout.BOM] == []
    theirs, ours = signature.key_id(forged_public), signature.key_id(keys[1])
    assert f"({theirs})" in trust(package, None).sentence
    assert "not whose key it is" in trust(package, None).sentence
    (only,) = [one for one in verify(package, keys[1]) if one.file != layout.BOM]
    assert only.file == layout.SIGNATURE
    assert only.what == f"{signature.OTHER_KEY} ({ours}); the package says it was {theirs}"
    assert trust(package, keys[1]).given


def _describe(crate: dict[str, Any], package: Path, name: str) -> None:
    digest = hashlib.sha256((package / name).read_bytes()).hexdigest()
    for entity in crate["@graph"]:
        if entity["@id"] == name:
            entity["sha256"] = digest


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        (layout.BOM, lambda bom: bom["metadata"]["component"]["hashes"].__setitem__(0, {"content": "0" * 64})),
        (layout.CARD, lambda card: card["identity"].__setitem__("dvc", "0" * 32)),
        (layout.CROISSANT, lambda data: data["distribution"][0].__setitem__("sha256", "0" * 64)),
        (layout.CRATE, lambda crate: [one.pop("sha256", None) for one in crate["@graph"]]),
    ],
)
def test_documents_that_contradict_each_other_are_named_even_if_signed(
    package: Path, keys: tuple[Path, Path], name: str, edit: Any
) -> None:
    (package / layout.SIGNATURE).unlink()
    change(package, name, edit)
    change(package, layout.CRATE, lambda crate: _describe(crate, package, name))
    reindexed(package)
    signature.sign(package, keys[0])
    assert name in files_of(verify(package, keys[1]))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"format": "cytoline-package", "version": 1, "model": {}, "files": {"../../x": {"sha256": "a", "size": 1}}}',
        b'{"format": "cytoline-package", "version": 1, "model": {}, "files": {"a": 1}}',
        b'{"format": "cytoline-package", "version": NaN}',
    ],
)
def test_a_hostile_index_is_a_finding_and_no_crash(package: Path, keys: tuple[Path, Path], content: bytes) -> None:
    (package / layout.INDEX).write_bytes(content)
    assert files_of(verify(package, keys[1])) == {layout.INDEX}


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 50_000, b'{"dsseEnvelope": {"payload": "AAAA", "signatures": []}}']
)
def test_a_hostile_signature_is_a_finding_and_no_crash(package: Path, keys: tuple[Path, Path], content: bytes) -> None:
    (package / layout.SIGNATURE).write_bytes(content)
    assert files_of(verify(package, keys[1])) == {layout.SIGNATURE}


def test_a_key_that_stands_twice_is_refused(package: Path, keys: tuple[Path, Path]) -> None:
    whole = (package / layout.INDEX).read_bytes()
    (package / layout.INDEX).write_bytes(whole.replace(b"{", b'{"format": "another",', 1))
    assert files_of(verify(package, keys[1])) == {layout.INDEX}


def test_the_signature_is_the_one_of_the_standard(package: Path, keys: tuple[Path, Path]) -> None:
    words = ["verify", "key", ".", "--signature", "package.sig", "--no-ignore-git-paths", "--public_key", str(keys[1])]
    command = [str(Path(sys.executable).with_name("model_signing")), *words]
    assert subprocess.run(command, cwd=package, capture_output=True, check=False).returncode == 0
    (package / "reproduce.md").write_text("other")
    assert subprocess.run(command, cwd=package, capture_output=True, check=False).returncode != 0


def test_the_independent_validators_find_nothing_and_ask_no_network(made: tuple[Path, Exported]) -> None:
    found = validator_failures(made[0])
    assert found == {"roc-validator": 0, "cyclonedx": 0, "mlcroissant": 0, "network": 0}


def test_the_validators_are_not_blind(package: Path) -> None:
    from cytoline.audit.package import validators

    change(package, layout.CRATE, lambda crate: [one.pop("instrument", None) for one in crate["@graph"]])
    change(package, layout.BOM, lambda bom: bom.__setitem__("formulation", [{"workflows": [{"uid": 1}]}]))
    change(package, layout.CROISSANT, lambda data: data["distribution"][0].pop("contentUrl"))
    assert validators.crate_failures(package)
    assert validators.bom_failures(package)
    assert validators.croissant_failures(package)


def test_what_the_documents_say_is_what_the_project_holds(made: tuple[Path, Exported], project: Path) -> None:
    folder, exported = made
    weights = hashlib.sha256(b"weights").hexdigest()
    bom = json.loads((folder / layout.BOM).read_bytes())
    card = json.loads((folder / layout.CARD).read_bytes())
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": weights}]
    assert bom["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    tasks = bom["formulation"][0]["workflows"][0]["tasks"]
    assert [task["name"] for task in tasks] == ["collect", "anonymize", "split", "train_classifier", "evaluate"]
    libraries = {one["name"]: one for one in bom["components"] if one["type"] == "library"}
    assert set(libraries) == {"dvc", "pyyaml", "not-there-at-all"}
    assert libraries["dvc"]["properties"][0]["value"] == "Pipeline, tracking: versions of data"
    assert card["data"]["parts"]["test"] == {"patients": 1, "images": 2, "annotations": 2}
    assert card["data"]["sources"][0]["license"] == "CC-BY-4.0"
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    assert card["identity"]["commit"] == exported.release.commit == head.stdout.strip()


def test_the_page_stands_alone_and_names_no_place_on_a_machine(made: tuple[Path, Exported], project: Path) -> None:
    folder = made[0]
    page = (folder / layout.PAGE).read_text()
    assert "Research &lt;b&gt;only&lt;/b&gt; &amp; [no] more." in page
    assert not re.search(r"""(src|href)=["'](?!#)(?![\w./%-]+["'])""", page)
    assert 'http-equiv="Content-Security-Policy"' in page
    assert 'class="empty"' in page
    for name in (layout.PAGE, layout.CRATE, layout.BOM, layout.CROISSANT, layout.CARD, layout.REPRODUCE):
        text = (folder / name).read_text().replace(sys.executable, "")  # the tiny project's own command line
        assert str(project) not in text, name
        assert str(project.parent) not in text, name
    assert PATIENT not in page


def test_nodes_of_the_drawing_are_links_to_their_details(made: tuple[Path, Exported]) -> None:
    page = (made[0] / layout.PAGE).read_text()
    nodes = re.findall(r'<a class="node[^"]*" id="([^"]+)" href="#([^"]+)"', page)
    assert [target for _, target in nodes] == [f"d-{name}" for name, _ in nodes]
    assert all(f'id="{target}"' in page for _, target in nodes)
    assert "n-models-classifier" in {name for name, _ in nodes}
    train = re.search(r'id="n-models-classifier"[^>]*data-up="([^"]*)"', page)
    assert train is not None
    assert set(train[1].split()) == {"n-data-clean", "n-data-split"}


def test_two_exports_differ_in_nothing_but_the_signature(
    made: tuple[Path, Exported], project: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytoline.audit.package.export._validate", lambda _: None)  # seconds; done above
    export("models/classifier", tmp_path / "again", keys[0], project)
    first, second = layout.index_of(made[0]), layout.index_of(tmp_path / "again")
    assert [name for name in first if first[name] != second.get(name)] == []


def test_a_state_that_is_not_committed_says_so(
    project: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytoline.audit.package.export._validate", lambda _: None)
    copy = Path(shutil.copytree(project, tmp_path / "project", symlinks=True))
    lock = copy / "dvc.lock"
    lock.write_text(lock.read_text() + "# changed\n")
    export("models/classifier", tmp_path / "package", keys[0], copy)
    assert "No commit records this model" in (tmp_path / "package" / layout.PAGE).read_text()
    assert json.loads((tmp_path / "package" / layout.INDEX).read_bytes())["model"]["commit"] is None


@pytest.mark.parametrize("damage", ["weights", "metrics", "manifest"])
def test_contents_that_are_not_what_the_lock_records_are_refused(
    damage: str, project: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(project, tmp_path / "project", symlinks=True))
    release = find("models/classifier", copy)
    if damage == "metrics":
        (copy / "metrics" / "classifier.json").write_text('{"balanced_accuracy": 1.0}')
        commit(copy, "prettier figures")
    else:
        item = release.item if damage == "weights" else release.out("data/clean")
        assert item is not None
        name = "weights.safetensors" if damage == "weights" else "manifest.jsonl"
        path = release.cache.path((release.listing(item) or {})[name])
        for place in (path, copy / item.path / name):
            place.chmod(0o644)
            place.unlink()
            place.write_bytes(b"{}\n")
    target = tmp_path / "package"
    with pytest.raises(CytolineError):
        export("models/classifier", target, keys[0], copy)
    assert not target.exists()
    assert [one.name for one in tmp_path.iterdir()] == ["project"]


def test_a_folder_of_something_else_is_never_replaced(project: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CytolineError, match="no package"):
        export("models/classifier", tmp_path, keys[0], project)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_keys_that_do_not_fit_are_said_before_anything_is_done(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.pem").write_text("no key")
    hidden, _ = make_key(tmp_path / "hidden.pem", "secret")
    for key, what in (
        (tmp_path / "none.pem", "no key at"),
        (tmp_path / "no.pem", "no private key"),
        (hidden, "passphrase"),
    ):
        with pytest.raises(CytolineError, match=what):
            export("models/classifier", tmp_path / "package", key, project)
    monkeypatch.setenv(signature.PASSPHRASE, "secret")
    (tmp_path / "signed").mkdir()
    (tmp_path / "signed" / "a").write_text("a")
    signature.sign(tmp_path / "signed", hidden)
    assert signature.check(tmp_path / "signed", hidden.with_suffix(".pub")) is None


def test_the_command_says_what_it_did(
    project: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cytoline.audit.package.export._validate", lambda _: None)
    monkeypatch.chdir(project)
    words = ["audit", "export", "models/classifier", str(tmp_path / "p"), "--key", str(keys[0]), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["key"] == signature.key_id(keys[1])
    unsigned = CliRunner().invoke(app, ["audit", "export", "models/classifier", str(tmp_path / "u"), "--unsigned"])
    assert "NOT signed" in unsigned.stdout
    assert files_of(verify(tmp_path / "u", keys[1])) == {layout.SIGNATURE}
    lost = CliRunner().invoke(app, ["audit", "export", "models/none", str(tmp_path / "n"), "--key", str(keys[0])])
    assert isinstance(lost.exception, CytolineError)
