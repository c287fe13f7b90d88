"""A kubeconfig is understood whole or refused by the name of what is wrong, and never quoted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nordan_core.domain.errors import OperatorError
from nordan_core.domain.ids import RegionCode
from nordan_core.settings import RegionSettings
from nordan_workers.executors.kubernetes.config import from_account, from_kubeconfig
from nordan_workers.joining import Joined
from nordan_workers.supervisor.choosing import pod_settings

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"


def document(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "current-context": "main",
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "secret"} if user is None else user}],
    }


def written(folder: Path, content: Any) -> Path:
    path = folder / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_kubeconfig_gives_server_authority_and_token(tmp_path: Path) -> None:
    data = base64.b64encode(PEM.encode()).decode()
    found = from_kubeconfig(written(tmp_path, document({"certificate-authority-data": data})))
    assert (found.server, found.authority, found.token) == ("https://10.0.0.1:6443", PEM, "secret")
    assert "secret" not in repr(found)


def test_files_that_it_names_are_looked_for_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "token").write_text("secret")
    found = from_kubeconfig(written(tmp_path, document({"certificate-authority": "ca.crt"}, {"tokenFile": "token"})))
    assert (found.authority, found.token_file) == (PEM, tmp_path / "token")


FAULTS: dict[str, tuple[Any, str]] = {
    "not YAML": ("a: [", "not YAML"),
    "not a mapping": ("[]", "not a mapping"),
    "no such context": ({**document(), "current-context": "other"}, "no context 'other'"),
    "no such cluster": ({**document(), "clusters": []}, "no cluster 'c'"),
    "no such user": ({**document(), "users": None}, "no user 'u'"),
    "no server": (document({"server": "10.0.0.1"}), "https://host:port"),
    "nobody is checked": (document({"insecure-skip-tls-verify": True}), "certificate-authority"),
    "a program gives the credential": (document(user={"exec": {"command": "x"}}), "'exec'"),
    "not base64": (document({"certificate-authority-data": "%"}), "base64"),
    "no such file": (document({"certificate-authority": "missing"}), "certificate-authority"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    content, part = FAULTS[case]
    with pytest.raises(OperatorError, match=part) as caught:
        from_kubeconfig(written(tmp_path, content))
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="missing"):
        from_kubeconfig(tmp_path / "missing")


def test_a_certificate_that_is_none_is_refused_before_the_first_request(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    found = from_kubeconfig(written(tmp_path, document({"certificate-authority": "ca.crt"})))
    with pytest.raises(OperatorError, match="certificates"):
        found.tls()


def test_a_pods_own_account_is_used_inside_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    found = from_account("fd00::1", 443, tmp_path)
    assert (found.server, found.token_file) == ("https://[fd00::1]:443", tmp_path / "token")


def test_outside_a_cluster_a_kubeconfig_is_asked_for() -> None:
    with pytest.raises(OperatorError, match="NORDAN_KUBECONFIG"):
        from_account("", 443)


@pytest.mark.parametrize("missing", ["agent_image", "pod_gateway_url", "territory"])
def test_a_setting_that_pods_need_is_asked_for(tmp_path: Path, missing: str) -> None:
    given = {"agent_image": "nordan:1", "pod_gateway_url": "http://gateway/", "territory": "FR", missing: ""}
    territory = given.pop("territory")
    settings = RegionSettings(region_dir=tmp_path, join_file=tmp_path / "join.json", executor="kubernetes")
    settings = settings.model_copy(update=given)
    joined = Joined(RegionCode("r"), "http://api", "secret", "", {}, territory)
    with pytest.raises(OperatorError, match="territory" if missing == "territory" else missing.upper()):
        pod_settings(settings, joined)


def test_what_a_pod_finds_in_itself_is_read_from_kubernetes_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    settings = RegionSettings(region_dir=tmp_path, join_file=tmp_path / "join.json")
    assert (settings.kubernetes_service_host, settings.kubernetes_service_port) == ("10.96.0.1", 6443)
    assert json.loads(settings.model_dump_json())["executor"] == "local"
