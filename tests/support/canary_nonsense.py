"""Requests that are refused, each for another reason, and bytes that are no request at all; canaries are in all."""

from __future__ import annotations

import json
import socket

from support.canary_story import HOME_REGION, Story
from support.tenants import Json


def send_nonsense(story: Story) -> None:
    """Requests that are refused, each for another reason."""
    word, tenant = story.canaries, story.tenant
    fine = {"name": "fine", "command": ["true"]}
    bad = {"Authorization": f"Bearer {word['bad credential']}"}
    field_, body = word["unknown field"], word["malformed body"]
    requests: list[tuple[str, str, int, Json]] = [
        ("POST", "/jobs", 422, {"json": {**fine, field_: field_}}),
        ("POST", "/jobs", 422, {"json": {**fine, "kind": field_}}),
        ("POST", "/jobs", 422, {"json": {**fine, "policy": {"process": [field_]}}}),
        ("POST", "/jobs", 422, {"json": {**fine, "image": field_ + "\0"}}),
        ("POST", "/jobs", 404, {"json": {**fine, "inputs": [f"dataset/{field_}"]}}),
        ("POST", "/jobs", 422, {"content": body}),
        ("POST", "/jobs", 422, {"content": f'{{"{body}": 1, "{body}": 2}}'}),
        ("POST", "/jobs", 413, {"content": word["large body"] * 30_000}),
        ("POST", "/jobs", 401, {"json": fine, "headers": bad}),
        ("POST", "/jobs", 422, {"json": fine, "headers": {"Idempotency-Key": word["idempotency key"] * 30}}),
        ("GET", f"/jobs/{word['bad path']}", 404, {}),
        ("GET", f"/jobs/{word['bad path']}%00", 422, {}),
        ("GET", f"/v1/{word['bad path']}", 404, {}),
        ("PATCH", "/jobs", 405, {"json": {field_: field_}}),
        ("GET", "/jobs", 422, {"params": {"state": word["query"]}}),
        ("POST", "/worker/v1/sync", 401, {"json": {"supervisor_id": field_}, "headers": bad}),
    ]
    for method, path, status, options in requests:
        tenant.ask(method, path, expect=status, **options)
    access = tenant.ask("POST", "/datasets/endpoints:put", json={"region": HOME_REGION}, expect=201).json()
    blob = "/v1/blobs/" + "0" * 64
    tenant.at_gateway("PUT", access, blob, content=body, expect=422)
    tenant.at_gateway("PUT", {**access, "token": word["bad token"]}, blob, content=body, expect=401)
    tenant.at_gateway("POST", access, f"/v1/uploads/{access['upload_id']}:commit", content=body, expect=422)
    tenant.at_gateway("GET", access, f"/v1/{word['bad path']}", expect=404)


def send_what_is_no_request(story: Story) -> None:
    """Bytes that no HTTP server understands, to every port that speaks HTTP."""
    odd = story.canaries["odd request"].encode()
    requests = (
        odd + b"\r\n\r\n",
        odd.upper() + b" /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /" + odd + b"\xff HTTP/9.9\r\n" + odd + b"\r\n\r\n",
        b"GET /" + odd + b" HTTP/1.1\r\nHost: " + odd + b"\r\nContent-Length: " + odd + b"\r\n\r\n",
        odd * 20_000,
    )
    ports: dict[str, int] = json.loads((story.stack.data / "ports.json").read_text())
    for name, port in ports.items():
        if not name.startswith("valkey"):
            for request in requests:
                _say(port, request)


def _say(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            line.recv(1)
        except OSError:
            # The server closed the connection on us, as it may.
            return
