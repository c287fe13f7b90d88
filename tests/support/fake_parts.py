"""Stands for every process that `up` starts by module name, so that `up` is tested without the other packages.

Run as `python fake_parts.py MODULE ...`; tells what it was given by writing `seen-<module>.json` where it is told.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def settings(name: str) -> str:
    return os.environ.get(f"NORDAN_{name}", "")


class Api(BaseHTTPRequestHandler):
    """As much of the api as `up` asks."""

    regions: tuple[str, ...] = ("home-1",)

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer({})
        elif self.path == "/v1/regions":
            codes = json.loads(settings("FAKE_REGIONS") or '["home-1"]')
            others = [{"code": "cluster-1", "executor": "kubernetes"}] if codes else []
            self._answer({"items": [*({"code": code, "executor": "local"} for code in codes), *others]})
        else:
            self._answer({"items": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.headers["Authorization"] != "Bearer nordan_admin":
            self._answer({"title": "unauthorized"}, 401)
        elif self.path == "/v1/admin:apply" and any(one["kind"] == "Nonsense" for one in body["documents"]):
            problem = {"title": "invalid", "detail": "documents.0.kind: 'Nonsense' is not a kind"}
            self._answer(problem, 422)
        elif self.path == "/v1/admin:apply":
            kinds = [one["kind"] for one in body["documents"]]
            Path(settings("SEALING_KEY_FILE")).with_name("applied.json").write_text(json.dumps(kinds))
            self._answer({"results": [{"kind": one["kind"], "action": "created"} for one in body["documents"]]})
        elif self.path.endswith(":join"):
            code = self.path.split("/")[-1].removesuffix(":join")
            Path(settings("SEALING_KEY_FILE")).with_name(f"joined-{code}.json").write_text(json.dumps(body))
            answer = {"api_url": settings("API_URL"), "region": code, "credential": "c", "grant_keys": {}}
            self._answer(answer)
        else:
            self._answer({}, 404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(module: str, *arguments: str) -> None:
    if module == settings("FAKE_FAILS"):
        print(f"{module} fails on purpose")
        raise SystemExit(7)
    if module == "nordan_core.proof.keys":
        Path(arguments[1]).write_text("private")
        Path(f"{arguments[1]}.pub").write_text("public")
    elif module == "nordan_api.bootstrap":
        Path(settings("ADMIN_KEY_FILE")).write_text("nordan_admin\n")
    elif module == "nordan_api":
        HTTPServer(("127.0.0.1", int(settings("API_PORT"))), Api).serve_forever()
    elif module == "nordan_workers.gateway":
        HTTPServer(("127.0.0.1", int(settings("GATEWAY_PORT"))), Api).serve_forever()
    elif module != "nordan_core.store.migrate":
        time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
