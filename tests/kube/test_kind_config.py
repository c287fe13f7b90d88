"""The configuration of kind that users start from is one that kind would take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.kube.fixtures import programs

pytestmark = pytest.mark.kube
ROOT = Path(__file__).parents[2]
_CLUSTER = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"


def test_every_configuration_of_kind_is_decoded_strictly() -> None:
    for file in sorted((ROOT / "deploy" / "kind").glob("*.yaml")):
        done = _check(file)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(
            _CLUSTER + "nodes:\n- role: worker\n  lables: {a: b}\n", r"unknown field \"lables\"", id="misspelt"
        ),
        pytest.param(_CLUSTER + "nodes:\n- role: server\n", "not control-plane or worker", id="role"),
        pytest.param("kind: Cluster\napiVersion: v1\n", "not kind.x-k8s.io/v1alpha4", id="version"),
    ],
)
def test_a_configuration_that_kind_would_refuse_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    done = _check(tmp_path / "config.yaml")
    assert done.returncode != 0
    assert complaint in done.stderr


def _check(*files: Path) -> subprocess.CompletedProcess[str]:
    argv = [*programs().argv("check-kind-config"), *map(str, files)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
