"""What KWOK plays for nodes and pods that exist only as objects: it has no stages of its own.

A node gets ready once and then only renews its lease, so a test may write another condition and it stays.
A pod runs as soon as it is bound. It ends by itself when a Job owns it, or when it has the annotation
`nordan.test/ends-after: 1.5s`; `nordan.test/exit-code: "1"` makes it fail. Else it runs until it is deleted or a
test ends it (`Cluster.end_pod`).
"""

from __future__ import annotations

import json

NODE_ANNOTATION = "kwok.x-k8s.io/node"
NODE_MARK = "fake"
ENDS_AFTER = "nordan.test/ends-after"
EXIT_CODE = "nordan.test/exit-code"

_NODE_READY = """
{{ $now := Now }}
phase: Running
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
nodeInfo:
  architecture: amd64
  operatingSystem: linux
  bootID: ""
  containerRuntimeVersion: kwok://0
  kernelVersion: kwok
  kubeProxyVersion: kwok
  kubeletVersion: kwok
  machineID: ""
  osImage: kwok
  systemUUID: ""
"""

_POD_RUNS = """
{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $host := or .spec.hostNetwork false }}
{{ $meta := .metadata }}
podIP: {{ PodIPWith .spec.nodeName $host (or $meta.uid "") (or $meta.name "") (or $meta.namespace "") | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
initContainerStatuses:
{{ range .spec.initContainers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  restartCount: 0
  {{ if eq (or .restartPolicy "") "Always" }}
  started: true
  state: {running: {startedAt: {{ $now | Quote }}}}
  {{ else }}
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ end }}
{{ end }}
"""

_POD_ENDS = """
{{ $now := Now }}
{{ $code := or (index (or .metadata.annotations dict) "EXIT_CODE") "0" }}
{{ $ok := eq $code "0" }}
phase: {{ if $ok }}Succeeded{{ else }}Failed{{ end }}
conditions:
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: {{ $code }}
      reason: {{ if $ok }}Completed{{ else }}Error{{ end }}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
""".replace("EXIT_CODE", EXIT_CODE)


def document() -> str:
    """Return the stages as YAML documents (each one JSON, which is YAML)."""
    ends_after = f'.metadata.annotations["{ENDS_AFTER}"]'
    is_running = [_absent(".metadata.deletionTimestamp"), _is(".status.phase", "Running")]
    stages = [
        _stage("node-gets-ready", "Node", [_is_not(".status.phase", "Running")], {"statusTemplate": _NODE_READY}),
        _stage(
            "pod-runs",
            "Pod",
            [_absent(".metadata.deletionTimestamp"), _absent(".status.podIP")],
            {"statusTemplate": _POD_RUNS},
        ),
        _stage(
            "pod-of-a-job-ends",
            "Pod",
            [*is_running, _is(".metadata.ownerReferences.[].kind", "Job"), _absent(ends_after)],
            {"statusTemplate": _POD_ENDS},
        ),
        _stage(
            "pod-ends-in-time",
            "Pod",
            [*is_running, {"key": ends_after, "operator": "Exists"}],
            {"statusTemplate": _POD_ENDS},
            delay={"durationMilliseconds": 0, "durationFrom": {"expressionFrom": ends_after}},
        ),
        _stage(
            "pod-goes",
            "Pod",
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            {"finalizers": {"empty": True}, "delete": True},
        ),
    ]
    return "\n---\n".join(json.dumps(stage) for stage in stages) + "\n"


def _stage(
    name: str, kind: str, matches: list[object], then: dict[str, object], *, delay: object = None
) -> dict[str, object]:
    spec: dict[str, object] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": matches},
        "next": then,
    }
    if delay:
        spec["delay"] = delay
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _is(key: str, value: str) -> object:
    return {"key": key, "operator": "In", "values": [value]}


def _is_not(key: str, value: str) -> object:
    return {"key": key, "operator": "NotIn", "values": [value]}


def _absent(key: str) -> object:
    return {"key": key, "operator": "DoesNotExist"}
