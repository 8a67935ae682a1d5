"""Rows are filled by what is found and by nothing else, and the page in docs is the one that is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cytoline.audit.compliance import rows as rows_of
from cytoline.audit.compliance.document import PAGE, cell, document
from cytoline.audit.compliance.resolver import OWNER_FILE, empty_rows, resolve
from cytoline.audit.compliance.rows import Evidence, Framework, frameworks, read_framework
from cytoline.audit.compliance.soup import packages
from cytoline.audit.revision import Revision
from cytoline.cli import app
from cytoline.errors import CytolineError

ROOT = Path(__file__).parents[3]


def framework(*evidence: dict[str, str], required: str = "build") -> Framework:
    row = {"id": "1", "asks": "something", "required": required, "evidence": list(evidence)}
    return Framework.model_validate({"short": "Law", "name": "A law", "source": "https://example.org", "rows": [row]})


def state(top: Path, *evidence: dict[str, str], required: str = "build") -> str:
    return resolve([framework(*evidence, required=required)], Revision.work_tree(top))[0].answers[0].state


@pytest.fixture
def top(tmp_path: Path) -> Path:
    files = {
        "dvc.yaml": "stages: {}\n",
        "dvc.lock": "schema: '2.0'\nstages:\n  s:\n    cmd: c\n    outs:\n    - {path: data/x, md5: "
        + "a" * 32
        + "}\n",
        "params.yaml": "split: {train: 0.6}\n",
        "metrics/m.json": '{"a": {"b": 0.5}, "text": "x", "odd": NaN}',
        "tests/test_a.py": "def test_it() -> None: ...\n",
        "approvals/approvals.jsonl": '{"role": "clinician", "ref": "models/a"}\n',
        OWNER_FILE: 'provider: {name: "The Laboratory", contact: "  "}\n',
        "empty.txt": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("there", "not_there"),
    [
        ({"file": "dvc.yaml"}, {"file": "empty.txt"}),
        ({"file": "params.yaml"}, {"file": "gone.txt"}),
        ({"out": "data/x"}, {"out": "data/y"}),
        ({"command": "gate"}, {"command": "audit no-such-thing"}),
        ({"command": "audit export"}, {"command": "gate deeper"}),
        ({"test": "tests/test_a.py::test_it"}, {"test": "tests/test_a.py::test_other"}),
        ({"metric": "metrics/m.json#a.b"}, {"metric": "metrics/m.json#text"}),
        ({"param": "split.train"}, {"param": "split.val"}),
        ({"owner": "provider.name"}, {"owner": "provider.contact"}),
        ({"approval": "clinician"}, {"approval": "quality"}),
    ],
)
def test_a_row_is_filled_only_by_what_is_there(top: Path, there: dict[str, str], not_there: dict[str, str]) -> None:
    assert state(top, there) == "filled"
    assert state(top, not_there) == "empty"
    assert state(top, there, not_there) == "empty"


def test_a_gap_stays_empty_and_what_does_not_apply_says_so(top: Path) -> None:
    assert state(top, {"gap": "nobody can"}, required="no") == "empty"
    assert state(top, {"na": "another product"}) == "not applicable"
    assert state(top, {"file": "dvc.yaml"}, {"na": "the rest"}) == "filled"


def test_an_approval_counts_for_its_own_model_only(top: Path) -> None:
    wanted = [framework({"approval": "clinician"})]
    assert resolve(wanted, Revision.work_tree(top), "models/a")[0].answers[0].state == "filled"
    assert resolve(wanted, Revision.work_tree(top), "models/b")[0].answers[0].state == "empty"


def test_broken_files_are_empty_and_no_crash(top: Path) -> None:
    (top / "metrics/m.json").write_bytes(b"[" * 100_000)
    (top / OWNER_FILE).write_bytes(b"\xff: [")
    (top / "approvals/approvals.jsonl").write_bytes(b"\xff\n[]\n")
    for one in ({"metric": "metrics/m.json#a.b"}, {"owner": "provider.name"}, {"approval": "clinician"}):
        assert state(top, one) == "empty"


def test_required_rows_are_told_apart(top: Path) -> None:
    found = resolve([framework({"file": "gone"}, required="release")], Revision.work_tree(top))
    assert empty_rows(found, ["build"]) == []
    assert [row.id for _, row in empty_rows(found, ["build", "release"])] == ["1"]


def test_a_row_that_can_never_be_filled_cannot_be_required() -> None:
    with pytest.raises(ValueError, match="never be filled"):
        framework({"gap": "nobody can"}, required="build")
    with pytest.raises(ValueError, match="exactly one"):
        Evidence(file="a", out="b")
    with pytest.raises(ValueError, match="exactly one"):
        Evidence(says="nothing")


def test_a_broken_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "law.yaml").write_text("short: a\nname: b\nsource: c\nrows: [{id: '1'}]\n")
    with pytest.raises(CytolineError, match=r"law.yaml: rows.0"):
        read_framework(tmp_path / "law.yaml")


def test_the_maps_are_whole() -> None:
    counts = {one.short: len(one.rows) for one in frameworks()}
    assert counts["HIPAA"] == 18
    assert counts["CLAIM"] == 44
    assert counts["GMLP"] == 10
    assert counts["Annex IV"] == 23
    assert len({row.id.rstrip("abcdefg") for one in frameworks() if one.short == "TRIPOD+AI" for row in one.rows}) == 27
    assert len(rows_of.ORDER) == len(counts)


def test_the_owners_template_has_every_key_that_a_row_asks_for() -> None:
    import yaml

    template = yaml.safe_load((ROOT / OWNER_FILE).read_text())
    asked = {entry.what for one in frameworks() for row in one.rows for entry in row.evidence if entry.kind == "owner"}
    known = {f"{key}.{inner}" for key, value in template.items() if isinstance(value, dict) for inner in value}
    known |= {key for key, value in template.items() if not isinstance(value, dict)}
    assert asked - known == set()
    assert known - asked == set()


def test_the_page_in_docs_is_the_one_that_is_computed() -> None:
    revision = Revision.work_tree(ROOT)
    wanted = document(resolve(frameworks(), revision), packages(revision))
    assert (ROOT / PAGE).read_text() == wanted, "run `cytoline audit compliance --write`"


def test_no_row_that_every_build_must_fill_is_empty() -> None:
    """This is what makes CI fail when evidence disappears."""
    found = resolve(frameworks(), Revision.work_tree(ROOT))
    assert [(name, row.id) for name, row in empty_rows(found, {"build"})] == []


def test_every_locked_package_is_on_the_list() -> None:
    revision = Revision.work_tree(ROOT)
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    names = [line.partition("==")[0] for line in lock if "==" in line and not line.startswith("#")]
    found = packages(revision)
    assert sorted(one.name for one in found) == sorted(names)
    torch = next(one for one in found if one.name == "torch")
    assert (torch.purpose, torch.asked) == ("Models", True)
    assert "BSD" in torch.licence


def test_text_cannot_break_out_of_a_table() -> None:
    assert cell("a | b\n<script>") == "a \\| b &lt;script>"


def test_check_fails_on_a_required_empty_row(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    monkeypatch.setattr("cytoline.audit.compliance.command.frameworks", lambda: (framework({"file": "dvc.yaml"}),))
    assert CliRunner().invoke(app, ["audit", "compliance", "--check"]).exit_code == 0
    (top / "dvc.yaml").write_text("x")
    monkeypatch.setattr("cytoline.audit.compliance.command.frameworks", lambda: (framework({"file": "gone"}),))
    done = CliRunner().invoke(app, ["audit", "compliance", "--check"])
    assert done.exit_code == 1
    assert "required and empty" in done.stdout
    assert CliRunner().invoke(app, ["audit", "compliance"]).exit_code == 0
    listed = json.loads(CliRunner().invoke(app, ["audit", "compliance", "--json"]).stdout)
    assert listed["empty_and_required"] == [{"map": "Law", "row": "1", "required": "build"}]


def test_elsewhere_it_says_where_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["audit", "compliance"])
    assert isinstance(done.exception, CytolineError)
