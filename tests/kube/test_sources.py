"""Where a test cluster's programs come from, and what is said when there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.kube import binaries, build
from support.kube.binaries import Unavailable, find_binaries
from support.kube.leftovers import remove_leftovers
from support.kube.spaces import remove_cgroup
from support.kube.user_cluster import read_access, user_cluster


def test_the_folder_of_envtest_serves_the_api_level(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        _program(tmp_path / name)
    found = find_binaries(binaries.API_PARTS, environment={"KUBEBUILDER_ASSETS": str(tmp_path)})
    assert found.argv("kube-apiserver") == [str(tmp_path / "kube-apiserver")]


def test_an_incomplete_folder_of_envtest_is_named(tmp_path: Path) -> None:
    _program(tmp_path / "etcd")
    with pytest.raises(Unavailable, match=f"{tmp_path}, which has no kube-apiserver"):
        find_binaries(binaries.API_PARTS, environment={"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_the_cache_serves_what_these_sources_made_and_nothing_older(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    other = tmp_path / "nordan-kube" / f"0123456789abcdef-{binaries.GO_SERIES}.8"
    ours = tmp_path / "nordan-kube" / f"{binaries.sources_digest()}-{binaries.GO_SERIES}.8"
    for folder in (other, ours):
        folder.mkdir(parents=True)
    for name in binaries.PARTS:
        _program(other / name)
    with pytest.raises(Unavailable, match="run `make kube`"):
        find_binaries(binaries.PARTS, environment=environment)
    for name in binaries.PARTS:
        _program(ours / name)
    found = find_binaries(binaries.PARTS, environment=environment)
    assert found.argv("kubelet") == [str(ours / "kube"), "kubelet"]
    assert found.argv("kwok") == [str(ours / "kwok")]


def test_another_series_of_go_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "go", "echo go1.27.1")
    monkeypatch.setattr(binaries, "_ENVIRONMENT", {"PATH": str(tmp_path)})
    with pytest.raises(Unavailable, match=r"is go1\.27\.1; the cluster programs need go1\.26\.x"):
        binaries.find_go()


def test_building_without_go_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(binaries, "_ENVIRONMENT", {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert build.main() == 1
    assert "no Go was found" in capsys.readouterr().err


def test_a_users_cluster_is_not_touched_without_the_promise(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="NORDAN_TEST_KUBECONFIG_IS_FOR_TESTS=1 does not say"):
        user_cluster(tmp_path, {"NORDAN_TEST_KUBECONFIG": str(tmp_path / "config")})
    assert user_cluster(tmp_path, {}) is None


def test_a_kubeconfig_without_an_authority_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        """{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}"""
    )
    with pytest.raises(Unavailable, match="names no certificate authority"):
        read_access(path, tmp_path)


def test_only_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f"nordan-kube-{dead.pid}-a", f"nordan-kube-{os.getpid()}-b", "nordan-kube-mine", "other"):
        (tmp_path / name).mkdir()
    assert tmp_path / f"nordan-kube-{dead.pid}-a" in remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"nordan-kube-{os.getpid()}-b", "nordan-kube-mine", "other"}


def test_leftovers_may_go_while_somebody_else_removes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "group" / "inner").mkdir(parents=True)
    remove = Path.rmdir

    def taken_first(path: Path) -> None:
        remove(path)
        remove(path)

    monkeypatch.setattr(Path, "rmdir", taken_first)
    remove_cgroup(tmp_path / "group")
    remove_cgroup(tmp_path / "group")
    assert not (tmp_path / "group").exists()


def _program(path: Path, script: str = "true") -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
