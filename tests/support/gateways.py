"""A real gateway on a port of its own, with a region's folder, tokens of every kind, and a fake control plane."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import uvicorn

from nordan_core.clock import SystemClock
from nordan_core.identifiers import new_id
from nordan_core.proof.keys import SigningKey
from nordan_core.proof.tokens import AccessClaims, SessionClaims, mint_access, mint_session
from nordan_workers.api_client import WorkerApi
from nordan_workers.gateway.app import Region, gateway_app
from nordan_workers.joining import read_join_file
from nordan_workers.store.region_store import RegionStore
from nordan_workers.supervisor.noticeboard import Noticeboard
from support.fake_worker_api import REGION, FakeWorkerApi, worker_api

MAX_UPLOAD_BYTES = 4 << 20


class GatewayUnderTest:
    """A gateway, its folder and its control plane."""

    def __init__(self, folder: Path, api: FakeWorkerApi, url: str, stop: Callable[[], None]) -> None:
        self.folder = folder
        self.api = api
        self.url = url
        self.store = RegionStore(folder / "store")
        self.board = Noticeboard(folder)
        self.stop = stop
        """Stop serving; called again, it does nothing."""
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=10.0)

    def token(
        self,
        obj: str,
        act: str = "read",
        *,
        audience: str = f"gateway:{REGION}",
        expires_in_s: float = 60,
        key: SigningKey | None = None,
        about: str = "",
        subject: str = "key_x",
    ) -> dict[str, str]:
        """Return the header with a pass to one object."""
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_in_s)
        claims = AccessClaims(audience, obj, act, subject, expires_at, about=about)
        return {"Authorization": f"Bearer {mint_access(claims, key or self.api.key)}"}

    def session_pass(
        self,
        attempt_id: str,
        rank: int = 0,
        *,
        session: str | None = None,
        audience: str = f"gateway:{REGION}",
        expires_in_s: float = 60,
        key: SigningKey | None = None,
    ) -> dict[str, str]:
        """Return the header with a pass to a session."""
        claims = SessionClaims(
            audience=audience,
            session_id=session or new_id("exs"),
            attempt_id=attempt_id,
            rank=rank,
            subject="key_x",
            expires_at=datetime.now(UTC) + timedelta(seconds=expires_in_s),
        )
        return {"Authorization": f"Bearer {mint_session(claims, key or self.api.key)}"}


@contextmanager
def gateway_under_test(folder: Path) -> Iterator[GatewayUnderTest]:
    """Serve a gateway from this folder."""
    with worker_api() as api:
        joined = read_join_file(api.join_file(folder / "join.json"))
        region = Region(folder, joined, WorkerApi(joined), SystemClock(), MAX_UPLOAD_BYTES)
        config = uvicorn.Config(
            gateway_app(region),
            host="127.0.0.1",
            port=0,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]

        def stop() -> None:
            server.should_exit = True
            thread.join()

        gateway = GatewayUnderTest(folder, api, f"http://127.0.0.1:{port}", stop)
        try:
            yield gateway
        finally:
            gateway.http.close()
            stop()
