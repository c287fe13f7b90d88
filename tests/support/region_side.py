"""What a region says to the worker API, step by step: redeem, report, publish, commit."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from support.control import Control

Json = dict[str, Any]


def manifest(**files: str) -> Json:
    """Return the manifest message of files given as name and text; `__` in a name stands for a dot."""
    return {
        "files": [
            {
                "path": name.replace("__", "."),
                "digest": sha256(text.encode()).hexdigest(),
                "size_bytes": len(text.encode()),
            }
            for name, text in files.items()
        ]
    }


def asking(*items: Json) -> Json:
    """Return a request that redeems these."""
    return {"supervisor_id": "sup-1", "nonce": secrets.token_hex(16), "items": list(items)}


@dataclass
class Run:
    """One attempt as its region holds it."""

    region: str
    grant: str
    redemption: str
    order: Json
    token: str
    seq: int = 0

    @property
    def attempt(self) -> str:
        """Return the attempt's id."""
        return str(self.order["attempt_id"])

    @property
    def fence(self) -> int:
        """Return the fence that it was granted under."""
        return int(self.order["fence"])

    def report(self, state: str, **more: Any) -> Json:
        """Return the next report."""
        self.seq += 1
        return {"attempt_id": self.attempt, "fence": self.fence, "seq": self.seq, "state": state, **more}

    def ended(self, result: str = "succeeded", *, outputs: Mapping[str, Json] | None = None, **more: Any) -> Json:
        """Return the last report."""
        named = [{"name": name, "manifest": one} for name, one in (outputs or {}).items()]
        code = 0 if result == "succeeded" else 1
        ranks = [{"rank": one["rank"], "exit_code": code, "signal": None} for one in self.order["ranks"]]
        return self.report("ended", result=result, outputs=named, **{"ranks": ranks, "running_s": 10.0, **more})


@dataclass
class RegionSide:
    """One region's supervisor and gateway, as far as the control plane sees them."""

    control: Control
    code: str
    supervisor: str = "sup-1"
    held: dict[str, Run] = field(default_factory=dict)

    def redeem(self, grant: str, redemption: str | None = None) -> Json:
        """Return the answer for one grant."""
        body = asking({"grant_id": grant, "redemption_id": redemption or secrets.token_hex(16)})
        [answer] = self.control.worker(self.code, "/worker/v1/grants:redeem", body)["items"]
        found: Json = answer
        return found

    def take(self, grant: str) -> Run:
        """Redeem a grant and hold its attempt."""
        redemption = secrets.token_hex(16)
        answer = self.redeem(grant, redemption)
        assert answer["outcome"] == "granted", answer
        run = Run(self.code, grant, redemption, answer["order"], answer["grant"])
        self.held[run.attempt] = run
        return run

    def sync(self, *reports: Json, live: Iterable[Run] | None = None) -> Json:
        """Send reports and what lives here (by default everything held), and return what comes down."""
        runs = self.held.values() if live is None else live
        return self._send(list(reports), [{"attempt_id": run.attempt, "fence": run.fence} for run in runs])

    def tell(self, *reports: Json) -> Json:
        """Send news alone."""
        return self._send(list(reports), None)

    def _send(self, reports: list[Json], live: list[Json] | None) -> Json:
        body = {
            "supervisor_id": self.supervisor,
            "nonce": secrets.token_hex(16),
            "reports": reports,
            "live": live,
        }
        down = self.control.worker(self.code, "/worker/v1/sync", body)
        for attempt in (*down["settled"], *down["unknown"]):
            self.held.pop(attempt, None)
        return down

    def start(self, run: Run) -> Json:
        """Report that an attempt pulls and then runs."""
        self.sync(run.report("pulling"))
        return self.sync(run.report("running"))

    def end(self, run: Run, result: str = "succeeded", **more: Any) -> Json:
        """Report an attempt's end."""
        return self.sync(run.ended(result, **more))

    def publish(self, run: Run, name: str, files: Json, *, expect: int = 201, **changes: Any) -> Json:
        """Publish a checkpoint."""
        body = {
            "attempt_id": run.attempt,
            "fence": run.fence,
            "kind": "checkpoint",
            "name": name,
            "manifest": files,
            **changes,
        }
        return self.control.worker(self.code, "/worker/v1/artifacts", body, expect=expect)

    def commit(self, upload: str, files: Json, *, expect: int = 201) -> Json:
        """Say that the bytes of an upload are here."""
        return self.control.worker(
            self.code, "/worker/v1/uploads:commit", {"upload_id": upload, "manifest": files}, expect=expect
        )
