"""A client that goes away in the middle of its request is nobody's defect."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from structlog.testing import capture_logs

from support.lab import Lab


def test_half_a_body_changes_nothing_and_is_no_defect(lab: Lab) -> None:
    before = lab.admin("GET", "/v1/projects").json()
    where = urlsplit(str(lab.client.base_url))
    head = f"POST /v1/projects HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {lab.admin_key}\r\n"
    with capture_logs() as logs:
        with socket.create_connection((str(where.hostname), where.port or 0)) as client:
            client.sendall(f'{head}Content-Length: 100\r\n\r\n{{"name": "half'.encode())
            client.shutdown(socket.SHUT_WR)
            client.recv(1)
        # The server has let go of the connection; whatever it had to say of it was said before this answer.
        after = lab.admin("GET", "/v1/projects").json()
    assert after == before
    assert [line for line in logs if line["log_level"] in {"error", "critical"}] == []
