"""The files of the build servers: what they may do, what they call, and that the gate's comment is one comment."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cytoline.cli import app
from cytoline.gate.outputs import MARKER

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CALL = re.compile(r"\.venv/bin/cytoline (.*)")


def loaded(path: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads the key `on` as true."""
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else str(key): value for key, value in document.items()}


def steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in document["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit_and_permissions_are_least(path: Path) -> None:
    document = loaded(path)
    for step in steps(document):
        if "uses" in step:
            assert re.fullmatch(r"[a-z-]+/[a-z-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
    assert document["permissions"] in ({}, {"contents": "read"})
    allowed = {"actions": "read", "pull-requests": "write"}
    for job in document["jobs"].values():
        assert job.get("permissions", {}).items() <= allowed.items()
        assert "timeout-minutes" in job


def test_the_code_of_strangers_meets_no_secret_and_no_token_that_writes() -> None:
    for path in WORKFLOWS:
        text, document = path.read_text(encoding="utf-8"), loaded(path)
        assert "pull_request_target" not in document["on"]
        assert "secrets." not in text
        writes = any("write" in str(job.get("permissions")) for job in document["jobs"].values())
        used = [step["uses"].partition("@")[0] for step in steps(document) if "uses" in step]
        if writes:
            assert "actions/checkout" not in used
            assert not any("run" in step for step in steps(document))
        for step in steps(document):
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False
            # What strangers name (branches, titles) never becomes text of a script.
            assert "${{" not in step.get("run", "")
            assert "${{" not in step.get("with", {}).get("script", "")


def calls() -> list[str]:
    github = [step["run"] for path in WORKFLOWS for step in steps(loaded(path)) if "run" in step]
    gitlab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    github += [line for job in gitlab.values() if isinstance(job, dict) for line in job.get("script", [])]
    return [found.group(1) for script in github for found in CALL.finditer(script)]


def test_every_call_of_cytoline_is_one_that_the_command_line_takes() -> None:
    found = calls()
    assert sum(call.startswith("gate ") for call in found) == 2
    group: Any = typer.main.get_command(app)
    for call in found:
        name, *arguments = shlex.split(call)
        command = group.get_command(typer.Context(group), name)
        with command.make_context(name, [*arguments]) as context:
            assert context.params["baseline"]
            assert context.params["junit"].suffix == ".xml"
            assert context.params["markdown"].name == "gate.md"


def test_the_comment_waits_for_the_workflow_that_makes_it() -> None:
    names = {loaded(path)["name"] for path in WORKFLOWS}
    comment = loaded(ROOT / ".github/workflows/gate-comment.yml")
    assert set(comment["on"]["workflow_run"]["workflows"]) <= names
    uploads = [
        step["with"]["name"]
        for step in steps(loaded(ROOT / ".github/workflows/ci.yml"))
        if "upload" in str(step.get("uses"))
    ]
    fetched = next(step for step in steps(comment) if "download" in step["uses"])
    assert fetched["with"]["name"] in uploads
    gitlab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert gitlab["gate"]["artifacts"]["reports"]["junit"] == "gate/gate.xml"
    assert gitlab["gate-note"]["environment"]["name"] == "gate-note"  # the token's scope


HARNESS = """
const calls = [];
const pulls = [{number: 7, head: {sha: 'a'.repeat(40)}}, {number: 8, head: {sha: 'b'.repeat(40)}}];
const earlier = JSON.parse(process.argv[2]);
const github = {
  paginate: async (_, query) => { calls.push(['list', query.issue_number]); return earlier; },
  rest: {
    pulls: {list: async query => { calls.push(['pulls', query.head]); return {data: pulls}; }},
    issues: {
      listComments: null,
      updateComment: async query => calls.push(['update', query.comment_id, query.body]),
      createComment: async query => calls.push(['create', query.issue_number, query.body]),
    },
  },
};
const run = {head_sha: process.argv[3].repeat(40), head_branch: 'x', html_url: 'https://host/run',
             head_repository: {owner: {login: 'stranger'}}};
const context = {repo: {owner: 'o', repo: 'r'}, payload: {workflow_run: run}};
const core = {info: text => calls.push(['info', text])};
(async () => { %s })().then(() => console.log(JSON.stringify(calls)));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js to run the workflow's script with")
@pytest.mark.parametrize(
    ("earlier", "sha", "expected"), [("none", "a", "create"), ("mine", "b", "update"), ("none", "c", "info")]
)
def test_the_comment_is_replaced_not_repeated_and_cannot_bite(
    tmp_path: Path, earlier: str, sha: str, expected: str
) -> None:
    comment = loaded(ROOT / ".github/workflows/gate-comment.yml")
    script = next(step["with"]["script"] for step in steps(comment) if "script" in step.get("with", {}))
    (tmp_path / "gate").mkdir()
    hostile = "@everyone ![x](https://evil/p.png) <img src=x> [y](http://z) <details>ok</details>"
    (tmp_path / "gate/gate.md").write_text(f"{MARKER}\n## cytoline gate\n{hostile}\n" + "x" * 90_000, encoding="utf-8")
    (tmp_path / "run.js").write_text(HARNESS % script, encoding="utf-8")
    people = [{"id": 1, "user": {"type": "User"}, "body": MARKER}]
    mine = [{"id": 5, "user": {"type": "Bot"}, "body": f"{MARKER}\nold"}] if earlier == "mine" else []
    words = ["node", "run.js", json.dumps(people + mine), sha]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told[0] == ["pulls", "stranger:x"]
    assert told[-1][0] == expected
    if expected == "info":
        return
    number, body = told[-1][1:]
    assert number == (5 if expected == "update" else 7)
    assert body.startswith(f"{MARKER}\n## cytoline gate")
    assert len(body) < 65_536
    assert body.count("<") == 3  # the marker, details and its end
    assert not re.search(r"@\w|\]\(|https?://evil", body)


class Notes(BaseHTTPRequestHandler):
    """GitLab's notes of one merge request."""

    held: list[dict[str, Any]]
    seen: list[tuple[str, str]]

    def _answer(self, value: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def _write(self) -> None:
        type(self).seen.append((self.command, str(self.headers["PRIVATE-TOKEN"])))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        last = self.path.rpartition("/")[2]
        type(self).held = [n for n in self.held if str(n["id"]) != last] + [{"id": 9, "body": body}]
        self._answer({})

    def do_GET(self) -> None:
        self._answer(self.held)

    do_POST = do_PUT = _write  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def gitlab() -> Iterator[str]:
    Notes.held, Notes.seen = [{"id": 3, "body": "a person's"}], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/v4"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_gitlabs_note_is_replaced_not_repeated(gitlab: str, tmp_path: Path) -> None:
    file = tmp_path / "gate.md"
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "CI_API_V4_URL": gitlab}
    environment |= {"CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_IID": "2", "GATE_TOKEN": "t0ken"}
    for text in ("first", "second"):
        file.write_text(f"{MARKER}\n{text} \u00b5\n", encoding="utf-8")
        subprocess.run([ROOT / ".ci/gate-note", file], env=environment, check=True, timeout=60)
    assert [note["body"] for note in Notes.held] == ["a person's", f"{MARKER}\nsecond \u00b5\n"]
    assert Notes.seen == [("POST", "t0ken"), ("PUT", "t0ken")]
    del environment["GATE_TOKEN"]
    done = subprocess.run([ROOT / ".ci/gate-note", file], env=environment, check=True, capture_output=True, timeout=60)
    assert b"GATE_TOKEN" in done.stdout
