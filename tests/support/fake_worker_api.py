"""A worker API in this process: real HTTP, the real messages and real signatures; jobs are a dictionary.

It keeps the rules that the real one keeps towards a region: one redemption id per grant, one fence per attempt, a
final report is stored once. Tests read its books and set its moods.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydantic import BaseModel

from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptState
from nordan_core.identifiers import new_id
from nordan_core.proof.keys import PublicKey, SigningKey, trusted
from nordan_core.proof.succession import Purpose, Succession, sign_succession
from nordan_core.proof.tokens import GrantClaims, RenewalClaims, RenewalItem, mint_grant, mint_renewal
from nordan_core.wire import (
    ArtifactAccepted,
    AttemptReport,
    CopySource,
    CopySourceRequest,
    LaunchOrder,
    PublishRequest,
    RedeemAnswer,
    RedeemItem,
    RedeemOutcome,
    RedeemRequest,
    RedeemResponse,
    StopOrder,
    SyncDown,
    SyncUp,
    UploadCommit,
)

REGION = "xx-tst-1"
CREDENTIAL = "nrg_secret"


@dataclass
class Grant:
    """One grant and everything that the region said about it."""

    order: LaunchOrder
    redemption_id: str | None = None
    redemptions: set[str] = field(default_factory=set)
    reports: list[AttemptReport] = field(default_factory=list)
    final: AttemptReport | None = None
    finals: set[str] = field(default_factory=set)


class FakeWorkerApi:
    """The books, the moods, and the answers."""

    def __init__(self) -> None:
        self._own_key = SigningKey.create()
        self._lock = threading.Lock()
        self.url = ""
        self.ttl_s = 30
        self.supervisors: set[str] = set()
        self.commits: list[UploadCommit] = []
        self.be_plain()
        self.forget()

    def be_plain(self) -> None:
        """Take every mood back."""
        self.key = self._own_key
        self.renews = True
        self.successions: tuple[dict[str, object], ...] = ()
        """What it says of how its keys followed each other."""
        self.nonce = ""
        """What renewals carry instead of the request's own nonce, as a replayed one would."""
        self.is_away = False
        """Answers 503 to everything."""
        self.forge: dict[str, object] = {}
        """Claims that grants get instead of the right ones."""
        self.fenced_objects: tuple[str, ...] = ()
        self.refuses_outputs = False
        """Answers 413 to a sync with an output in it."""

    def change_key(self, *, until: datetime, by: SigningKey | None = None) -> SigningKey:
        """Go on under another key, introduced by the own one (or by somebody else); returns it."""
        old, new, now = self._own_key, SigningKey.create(), datetime.now(UTC)
        told = Succession(Purpose.GRANT, old.public, new.public, now, until, 0)
        self.successions = (sign_succession(told, by or old),)
        self.key = new
        return new

    def forget(self) -> None:
        """Begin new books."""
        self.grants: dict[str, Grant] = {}
        self.artifacts: list[PublishRequest] = []
        self.stops: dict[str, StopOrder] = {}
        self.unknown: set[str] = set()
        self.stale: set[str] = set()
        self.sources: dict[str, CopySource] = {}
        """Whence each copy may be fetched."""
        self.requests: Counter[str] = Counter()

    @property
    def keys(self) -> dict[str, PublicKey]:
        """Return the public half, as gateways and supervisors want it."""
        return dict(trusted(self._own_key.public))

    def grant(self, order: LaunchOrder) -> str:
        """Make a grant for an order and return its id."""
        grant_id = new_id("grt")
        with self._lock:
            self.grants[grant_id] = Grant(order)
        return grant_id

    def of(self, order: LaunchOrder) -> Grant:
        """Return the grant of an order."""
        return next(grant for grant in self.grants.values() if grant.order.attempt_id == order.attempt_id)

    def final(self, order: LaunchOrder) -> AttemptReport | None:
        """Return how an attempt ended, once it is told."""
        return self.of(order).final

    def stop(self, order: LaunchOrder, reason: Reason = Reason.CANCELLED_BY_USER, grace_s: float = 5.0) -> None:
        """Have the next answers ask for a stop."""
        self.stops[order.attempt_id] = StopOrder(attempt_id=order.attempt_id, grace_s=grace_s, reason=reason)

    def join_file(self, path: Path, broker_url: str = "redis://127.0.0.1:1/0") -> Path:
        """Write the bundle of a region that joined this api."""
        bundle = {
            "api_url": self.url,
            "region": REGION,
            "credential": CREDENTIAL,
            "broker_url": broker_url,
            "grant_keys": {self._own_key.public.key_id: self._own_key.public.pem()},
        }
        path.write_text(json.dumps(bundle))
        path.chmod(0o600)
        return path

    def answer(self, path: str, body: bytes) -> tuple[int, BaseModel | dict[str, object]]:
        """Return status and body for one request."""
        with self._lock:
            self.requests[path] += 1
            if self.is_away:
                return 503, {"code": "unavailable", "detail": "away"}
            match path:
                case "/worker/v1/grants:redeem":
                    request = RedeemRequest.model_validate_json(body)
                    return 200, self._redeemed(request)
                case "/worker/v1/sync":
                    up = SyncUp.model_validate_json(body)
                    if self.refuses_outputs and any(report.outputs for report in up.reports):
                        return 413, {"code": "too_large", "detail": "too large"}
                    return 200, self._sync(up)
                case "/worker/v1/artifacts":
                    return self._publish(PublishRequest.model_validate_json(body))
                case "/worker/v1/uploads:source":
                    asked = CopySourceRequest.model_validate_json(body)
                    source = self.sources.get(asked.upload_id)
                    return (200, source) if source is not None else (404, {"code": "not_found"})
                case "/worker/v1/uploads:commit":
                    commit = UploadCommit.model_validate_json(body)
                    self.commits.append(commit)
                    digest = commit.manifest.to_domain().digest
                    return 200, ArtifactAccepted(artifact_id=new_id("art"), digest=digest)
        return 404, {"code": "not_found"}

    def _redeemed(self, request: RedeemRequest) -> RedeemResponse:
        answers = tuple(self._redeem(item) for item in request.items)
        orders = [one.order for one in answers if one.order is not None]
        lives = tuple(RenewalItem(one.attempt_id, one.fence, int(one.ttl_s)) for one in orders)
        claims = RenewalClaims(REGION, request.supervisor_id, self.nonce or request.nonce, datetime.now(UTC), lives)
        return RedeemResponse(items=answers, renewal=mint_renewal(claims, self.key), successions=self.successions)

    def _redeem(self, item: RedeemItem) -> RedeemAnswer:
        grant = self.grants.get(item.grant_id)
        if grant is None or grant.final is not None:
            return RedeemAnswer(grant_id=item.grant_id, outcome=RedeemOutcome.GONE)
        grant.redemptions.add(item.redemption_id)
        if grant.redemption_id not in {None, item.redemption_id}:
            return RedeemAnswer(grant_id=item.grant_id, outcome=RedeemOutcome.REFUSED, code="redeemed_before")
        grant.redemption_id = item.redemption_id
        token = mint_grant(self._claims(item, grant.order), self.key)
        return RedeemAnswer(grant_id=item.grant_id, outcome=RedeemOutcome.GRANTED, grant=token, order=grant.order)

    def _claims(self, item: RedeemItem, order: LaunchOrder) -> GrantClaims:
        now = datetime.now(UTC)
        claims = {
            "grant_id": item.grant_id,
            "attempt_id": order.attempt_id,
            "job_id": order.job_id,
            "region": REGION,
            "pool": order.pool,
            "nodes": tuple(dict.fromkeys(rank.node for rank in order.ranks)),
            "fence": order.fence,
            "redemption_id": item.redemption_id,
            "issued_at": now,
            "expires_at": now + timedelta(seconds=order.ttl_s),
            "policy_digest": "0" * 64,
            "epoch": 1,
        }
        return GrantClaims(**{**claims, **self.forge})  # type: ignore[arg-type]  # tests forge any claim

    def _sync(self, up: SyncUp) -> SyncDown:
        self.supervisors.add(up.supervisor_id)
        for report in up.reports:
            self._store(report)
        ended = {one.attempt_id for one in up.reports if self._by_attempt(one.attempt_id).final is not None}
        if up.live is None:
            return SyncDown(renewal="", settled=tuple(ended))
        live = {one.attempt_id for one in up.live}
        items = tuple(RenewalItem(one.attempt_id, one.fence, self.ttl_s) for one in up.live if self.renews)
        renewal = RenewalClaims(REGION, up.supervisor_id, self.nonce or up.nonce, datetime.now(UTC), items)
        return SyncDown(
            renewal=mint_renewal(renewal, self.key),
            stop=tuple(stop for stop in self.stops.values() if stop.attempt_id in live),
            settled=tuple(one for one in live if self._by_attempt(one).final is not None),
            unknown=tuple(live & self.unknown),
            fenced_objects=self.fenced_objects,
            successions=self.successions,
        )

    def _store(self, report: AttemptReport) -> None:
        grant = self._by_attempt(report.attempt_id)
        assert report.fence == grant.order.fence
        last = grant.reports[-1].seq if grant.reports else 0
        if report.state is AttemptState.ENDED:
            grant.finals.add(report.model_dump_json())
        if grant.final is not None or report.seq <= last:
            return
        grant.reports.append(report)
        if report.state is AttemptState.ENDED:
            grant.final = report

    def _publish(self, request: PublishRequest) -> tuple[int, BaseModel | dict[str, object]]:
        if request.attempt_id in self.stale:
            return 409, {"code": "stale_fence", "detail": "the attempt has a newer fence"}
        self.artifacts.append(request)
        return 200, ArtifactAccepted(artifact_id=new_id("art"), digest=request.manifest.to_domain().digest)

    def _by_attempt(self, attempt_id: str) -> Grant:
        return next(grant for grant in self.grants.values() if grant.order.attempt_id == attempt_id)


@contextmanager
def worker_api() -> Iterator[FakeWorkerApi]:
    """Serve a fake worker API on a port of its own."""
    api = FakeWorkerApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Authorization"] != f"Bearer {CREDENTIAL}":
                self._send(401, {"code": "unauthenticated"})
                return
            self._send(*api.answer(self.path, body))

        def _send(self, status: int, body: BaseModel | dict[str, object]) -> None:
            data = (body.model_dump_json() if isinstance(body, BaseModel) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing: clients are killed on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
