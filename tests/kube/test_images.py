"""Images that are made without an engine: what they hold, and that the same content is the same image."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from oci import Image, write_archive, write_layer


def test_an_archive_is_a_layout_whose_digests_are_true(tmp_path: Path) -> None:
    digest = _image(tmp_path, "a")
    with tarfile.open(tmp_path / "a.tar") as archive:
        content = {member.name: _read(archive, member) for member in archive if member.isfile()}
    for name, blob in content.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(blob).hexdigest() == name.rpartition("/")[2]
    [entry] = json.loads(content["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/a:1"
    manifest = json.loads(content[f"blobs/sha256/{digest.removeprefix('sha256:')}"])
    config = json.loads(content["blobs/sha256/" + manifest["config"]["digest"].removeprefix("sha256:")])
    assert config["config"] == {"Entrypoint": ["/bin/tool"], "Env": ["A=1"], "User": "65532", "WorkingDir": "/work"}
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


def test_a_layer_holds_files_folders_and_links_that_belong_to_nobody(tmp_path: Path) -> None:
    _image(tmp_path, "a")
    with tarfile.open(tmp_path / "a.layer") as layer:
        found = {member.name: member for member in layer}
    assert list(found) == ["bin", "bin/tool", "bin/alias", "usr", "usr/lib", "usr/lib/tree", "usr/lib/tree/file"]
    assert found["bin/tool"].mode == 0o755
    assert found["bin/alias"].linkname == "/bin/tool"
    assert {(member.uid, member.uname, member.mtime) for member in found.values()} == {(0, "", 0)}


def test_the_same_content_is_the_same_image(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert _image(first, "a") == _image(second, "a")


def _image(folder: Path, name: str) -> str:
    tree = folder / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    layer = folder / f"{name}.layer"
    entries: list[tuple[str, Path | bytes | str, int]] = [
        ("bin/tool", b"#!/bin/sh\n", 0o755),
        ("bin/alias", "/bin/tool", 0o777),
        ("usr/lib/tree", tree, 0o755),
    ]
    write_layer(layer, entries)
    image = Image(
        f"localhost/{name}:1", entrypoint=["/bin/tool"], environment={"A": "1"}, user="65532", workdir="/work"
    )
    return write_archive(folder / f"{name}.tar", image, [layer])


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(member)
    assert source is not None
    return source.read()
