"""``reproduce.md``: how somebody else makes the same model, and by which hashes they know that they did."""

from __future__ import annotations

from cytoline.audit.package.dataset import Dataset
from cytoline.audit.package.release import Release


def reproduce(release: Release, data: Dataset, lock_sha256: str) -> str:
    """The text; commands in the order in which they are typed."""
    rows = "\n".join(f"| `{out.path}` | {stage.name} | `{out.md5}` |" for stage in release.stages for out in stage.outs)
    commit = release.commit or "COMMIT"
    said = (
        f"Commit `{release.commit}` records it."
        if release.commit
        else "**No commit records this model: `dvc.lock` was exported from a work tree that was not committed.** "
        "`pipeline/` holds the files as they were."
    )
    built_in = all(source.legal_basis == "synthetic" for source in data.sources)
    fetch = (
        "# the images are synthetic: the first stage draws them again"
        if built_in
        else "dvc pull data/clean data/split   # from a remote that you were given; originals are never in it"
    )
    return f"""# Make `{release.name}` again

{said} It needs Python 3.11, git and make; the rest installs itself from `pipeline/requirements.lock`
(sha256 `{lock_sha256}`).

```sh
git clone REPOSITORY cytoline && cd cytoline
git checkout {commit}
make setup
{fetch}
.venv/bin/dvc repro {release.path}
.venv/bin/cytoline audit reproduce {release.path}   # the same in a clean clone, compared stage by stage
```

On the same kind of processor every hash below comes out again. On another kind, or on a GPU, weights differ in their
last digits; then compare the figures with their intervals.

| out | stage | DVC's hash |
|---|---|---|
{rows}

`{release.path}/weights.safetensors` has sha256 `{release.weights_sha256}`.

# Check this package

```sh
cytoline audit verify . --key KEY.pem   # KEY.pem: from the people who released it, not from this folder
```

Without cytoline: `pip install model-signing pyopenssl`, then

```sh
model_signing verify key . --signature package.sig --no-ignore-git-paths --public_key KEY.pem
```
"""
