"""What every overlay keeps to, whatever is in it: rules of the house over rendered manifests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from nordan_core import cluster_secrets
from nordan_core.settings import ApiSettings, DatabaseSettings, RegionSettings, SchedulerSettings
from support.manifests import DEPLOY, OVERLAYS, Object, containers, name_of, pod_specs, rendered

#: Environment variables whose values may come from a Secret: what is left of a URL without its password.
URLS_FROM_SECRETS = {"NORDAN_DATABASE_URL"}
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
Fault = Callable[[Object, Object], object]


def test_no_overlay_is_left_out() -> None:
    """Whatever is asked of every overlay goes through this list."""
    assert set(OVERLAYS) == {folder.name for folder in (DEPLOY / "overlays").iterdir()}


def faults_of(container: Object, spec: Object) -> list[str]:
    """Return what is wrong with a container, in words."""
    security, context = container.get("securityContext", {}), spec.get("securityContext", {})
    name, _, tag = container["image"].rpartition(":")
    resources = container.get("resources", {})
    checks = {
        "runs as root": context.get("runAsNonRoot") is True and context.get("runAsUser", 0) > 0,
        "may gain rights or write its root": all(security.get(key) == value for key, value in RESTRICTED.items()),
        "has no seccomp profile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
        "asks for nothing": {"cpu", "memory"} <= set(resources.get("requests", {})),
        "has no limit of memory": "memory" in resources.get("limits", {}),
        "has no pinned image": bool(name) and re.fullmatch(r"\d+\.\d+(\.\d+)?[a-z0-9.-]*", tag) is not None,
        "mounts the account's token unasked": spec.get("automountServiceAccountToken") is False,
        "gets variables of Services, some named like our settings": spec.get("enableServiceLinks") is False,
        "uses the node's namespaces": not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
        "mounts a folder of the node": not any("hostPath" in volume for volume in spec.get("volumes", ())),
        "has a secret in its environment": not any(_is_secret_value(one) for one in container.get("env", ())),
        "has a Secret that others can read": all(_is_closed(volume) for volume in spec.get("volumes", ())),
        "has a volume in memory or on disk without a limit": all(_is_limited(one) for one in spec.get("volumes", ())),
    }
    return [fault for fault, holds in checks.items() if not holds]


def _is_secret_value(variable: Object) -> bool:
    source = variable.get("valueFrom", {})
    is_from_secret = "secretKeyRef" in source and variable["name"] not in URLS_FROM_SECRETS
    says_secret = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "_KEY", "TOKEN"))
    return is_from_secret or (says_secret and not variable["name"].endswith("_FILE"))


def _is_closed(volume: Object) -> bool:
    return "secret" not in volume or volume["secret"].get("defaultMode") == 0o440


def _is_limited(volume: Object) -> bool:
    return "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_keeps_to_the_rules(overlay: str) -> None:
    found = {name: faults for name, container, spec in containers(overlay) if (faults := faults_of(container, spec))}
    assert found == {}


def _pop(path: str) -> Fault:
    def fault(container: Object, spec: Object) -> object:
        owner: Any = {"container": container, "spec": spec}
        *steps, last = path.split(".")
        for step in steps:
            owner = owner[step]
        return owner.pop(last)

    return fault


BROKEN: dict[str, Fault] = {
    "runs as root": _pop("spec.securityContext.runAsUser"),
    "may gain rights or write its root": _pop("container.securityContext.readOnlyRootFilesystem"),
    "has no seccomp profile": _pop("spec.securityContext.seccompProfile"),
    "asks for nothing": _pop("container.resources.requests.cpu"),
    "has no limit of memory": _pop("container.resources.limits"),
    "has no pinned image": lambda container, _: container.update(image="localhost/nordan:latest"),
    "mounts the account's token unasked": _pop("spec.automountServiceAccountToken"),
    "gets variables of Services, some named like our settings": _pop("spec.enableServiceLinks"),
    "uses the node's namespaces": lambda _, spec: spec.update(hostNetwork=True),
    "mounts a folder of the node": lambda _, spec: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    "has a secret in its environment": lambda container, _: container["env"].append(
        {"name": "NORDAN_X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "x"}}}
    ),
    "has a Secret that others can read": lambda _, spec: spec["volumes"].append({"secret": {"secretName": "x"}}),
    "has a volume in memory or on disk without a limit": lambda _, spec: spec["volumes"].append({"emptyDir": {}}),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_container_that_breaks_a_rule_is_found(fault: str) -> None:
    """A rule that nothing can break keeps nothing."""
    _, container, spec = next(deepcopy(one) for one in containers("control-plane") if one[0].endswith(" api"))
    assert faults_of(container, spec) == []
    BROKEN[fault](container, spec)
    assert faults_of(container, spec) == [fault]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_runs_on_is_probed_and_has_a_budget(overlay: str) -> None:
    budgets = [
        one["spec"]["selector"]["matchLabels"] for one in rendered(overlay) if one["kind"] == "PodDisruptionBudget"
    ]
    for one in rendered(overlay):
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert (
                one["spec"]["template"]["metadata"]["labels"].items() >= one["spec"]["selector"]["matchLabels"].items()
            )
            assert one["spec"]["selector"]["matchLabels"] in budgets, name_of(one)
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert "livenessProbe" in container, f"{name_of(one)} {container['name']}"
                assert "readinessProbe" in container or "ports" not in container, f"{name_of(one)} {container['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_namespace_denies_all_traffic_that_is_not_listed(overlay: str) -> None:
    objects = rendered(overlay)
    spaces = {one["metadata"]["name"]: one["metadata"]["labels"] for one in objects if one["kind"] == "Namespace"}
    denied = {
        one["metadata"]["namespace"]
        for one in objects
        if one["kind"] == "NetworkPolicy" and one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    }
    assert denied == set(spaces)
    for labels in spaces.values():
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    used = {one["metadata"].get("namespace") for one in objects} - {None}
    assert used <= set(spaces), "an object goes to a namespace that the overlay does not make"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_policy_selects_pods_that_there_are(overlay: str) -> None:
    labels = [
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
        for one in rendered(overlay)
        if one["kind"] in ("Deployment", "StatefulSet", "Job")
    ]
    for one in rendered(overlay):
        if one["kind"] in ("NetworkPolicy", "Service"):
            for name in re.findall(r"'app.kubernetes.io/name': '([a-z-]+)'", str(one["spec"])):
                # Where regions are elsewhere, so are their pods.
                assert name in labels or overlay == "region", f"{name_of(one)}: {name}"


def test_the_settings_of_every_container_are_settings_of_ours() -> None:
    """A misspelt one would be ignored without a word."""
    known = {
        f"NORDAN_{name.upper()}"
        for group in (ApiSettings, DatabaseSettings, SchedulerSettings, RegionSettings)
        for name in group.model_fields
    }
    helpers = {"NORDAN_NAMESPACE"}
    for overlay in OVERLAYS:
        for name, container, _ in containers(overlay):
            for variable in container.get("env", ()):
                is_ours = variable["name"].startswith("NORDAN_")
                assert not is_ours or variable["name"] in known | helpers, f"{name}: {variable['name']}"


def test_each_signing_key_is_mounted_by_the_one_process_that_signs_with_it() -> None:
    def holders(secret: str) -> set[str]:
        return {
            name.rpartition("/")[2]
            for name, spec in pod_specs("kind")
            if any(volume.get("secret", {}).get("secretName") == secret for volume in spec["volumes"])
        }

    assert holders(cluster_secrets.GRANT_KEY) == {"nordan-api"}
    assert holders(cluster_secrets.CERTIFICATE_KEY) == {"nordan-scheduler"}
    assert holders(cluster_secrets.SHARED) == {"nordan-api", "nordan-scheduler"}
    assert holders(cluster_secrets.DATABASE) == {
        "nordan-api",
        "nordan-scheduler",
        "nordan-migrate",
        "nordan-postgres",
    }
    assert holders("nordan-join") == {"nordan-region", "nordan-broker"}


def test_only_the_supervisor_can_speak_as_the_regions_account() -> None:
    for overlay in ("region", "kind"):
        with_token = {
            name.rpartition(" ")[2]
            for name, container, _ in containers(overlay)
            if any("serviceaccount" in mount["mountPath"] for mount in container.get("volumeMounts", ()))
        }
        assert with_token == {"supervisor"}


@pytest.mark.parametrize("overlay", ["region", "kind"])
def test_pods_of_jobs_get_the_supervisors_own_image(overlay: str) -> None:
    for name, container, _ in containers(overlay):
        if name.endswith(" supervisor"):
            given = {one["name"]: one.get("value") for one in container["env"]}
            assert given["NORDAN_AGENT_IMAGE"] == container["image"]


def test_each_region_of_the_rehearsal_keeps_to_namespaces_of_its_own() -> None:
    for one in rendered("kind"):
        own = one["metadata"].get("namespace", "")
        code = own.partition("-")[2] if own.startswith(("region-", "jobs-")) else ""
        other = {"fr-bru-1": "se-bor-1", "se-bor-1": "fr-bru-1"}.get(code)
        if other is not None:
            assert other not in str(one), name_of(one)
            for wrong in ("'nordan-jobs'", "'nordan-region', 'kubernetes"):
                assert wrong not in str(one), name_of(one)


def test_the_rules_are_those_of_this_file() -> None:
    """Every check of `faults_of` has its broken twin."""
    assert set(BROKEN) == set(re.findall(r'^        "([^"]+)": ', inspect.getsource(faults_of), re.MULTILINE))
