"""Leave to run a command inside a running attempt: a path of its own, judged like reading, each opening one act.

The control plane learns who enters which attempt and never what is run there: the command goes to the region's
gateway. A pass lives for a minute and is renewed by asking again with it, judged anew each time, so whoever may not
any more (a floor, a territory, a key that was revoked) is out within that minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nordan_api.context import Context
from nordan_api.derogating import Derogating
from nordan_api.jobs import service
from nordan_api.jobs.policy import policies_of
from nordan_api.readers import why_not_to
from nordan_api.workers.verdicts import Judge
from nordan_core.domain.attempts import Attempt, held_by
from nordan_core.domain.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from nordan_core.domain.ids import AttemptId
from nordan_core.domain.jobs import Job
from nordan_core.domain.places import Region
from nordan_core.domain.reasons import Reason
from nordan_core.domain.states import AttemptState
from nordan_core.domain.tenants import Principal
from nordan_core.identifiers import new_id
from nordan_core.proof.errors import TokenError, TokenExpired
from nordan_core.proof.tokens import SessionClaims, mint_session, read_session
from nordan_core.residency.judge import judge_reader
from nordan_core.residency.verdicts import together
from nordan_core.residency.widening import derogated
from nordan_core.store.audit import Act, AuditEntry
from nordan_core.store.unit_of_work import UnitOfWork
from nordan_core.wire import Access

#: How long a pass holds. Half of it is time enough to renew; the whole is how long a change of law may go unnoticed.
SESSION_S = 60.0
_MAX_RANK = 4096
_UNKNOWN_SESSION = "this is no pass to a session of this control plane"
_FIELDS = frozenset({"attempt", "rank", "renew"})
#: When what the judge said may be over by itself.
_Ends = tuple[datetime | None, ...]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a request asks for."""

    number: int | None
    """Of the attempt; None: the newest."""
    rank: int
    session_id: str
    attempt_id: AttemptId | None = None
    """Set when a session is to go on."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """Who wants into which attempt."""

    principal: Principal
    job: Job
    attempt: Attempt
    wish: _Wish


def session_access(context: Context, principal: Principal, project: str, job: str, body: Mapping[str, Any]) -> Access:
    """Return the way into one rank of a running attempt, for a minute; with `renew`, for a minute more.

    Raises:
        Invalid: a field has another form. NotFound: no such job, attempt or rank. Conflict: the attempt does not run,
            or a session is over. Refused: the caller sits where `access` does not allow, or the attempt is to be
            fenced. Unavailable: the region has not joined.
    """
    wish = _wish(context, principal, body)
    with context.store.begin() as work:
        # The epoch stands still until the commit, so what is judged here holds when the act is written.
        judge = Judge(context, work)
        found = service.find_job(work, principal, project, job)
        visit = _Visit(principal, found, _running(work, found, wish), wish)
        _check_opened(work, visit)
        region = work.places.region(visit.attempt.region)
        if region is None or not region.gateway_url:
            raise Unavailable(f"region {visit.attempt.region} has not joined; its gateway is not known yet", 5.0)
        refusal, judged, ends = _judge(context, work, judge, visit)
        _note(work, visit, refusal, judged, judge.now)
    if refusal is not None:
        raise refusal
    return _pass(context, visit, region, ends)


def _wish(context: Context, principal: Principal, body: Mapping[str, Any]) -> _Wish:
    if unknown := sorted(body.keys() - _FIELDS):
        raise Invalid(unknown[0], "no such field; attempt, rank and renew may be given")
    if "renew" in body:
        if len(body) > 1:
            raise Invalid("renew", "a renewal goes on with the attempt and rank of its pass; give nothing else")
        return _renewal(context, principal, body["renew"])
    return _Wish(_number(body, "attempt", first=1), _number(body, "rank", first=0) or 0, new_id("exs"))


def _number(body: Mapping[str, Any], field: str, *, first: int) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not first <= value <= _MAX_RANK:
        raise Invalid(field, f"give a whole number from {first} to {_MAX_RANK}")
    return value


def _renewal(context: Context, principal: Principal, token: object) -> _Wish:
    if not isinstance(token, str):
        raise Invalid("renew", "give the pass that the session has now")
    try:
        now = context.clock.now()
        # A pass says not when it was signed, so only keys that may sign now count.
        claims = read_session(token, keys=context.grant_keys.ring().live(now), now=now)
    except TokenExpired as error:
        raise Conflict("session_over", "the pass has expired and the session with it; open another") from error
    except TokenError as error:
        raise Invalid("renew", _UNKNOWN_SESSION) from error
    if claims.subject != principal.key:
        raise Invalid("renew", "a session goes on with the key that opened it")
    return _Wish(None, claims.rank, claims.session_id, AttemptId(claims.attempt_id))


def _running(work: UnitOfWork, job: Job, wish: _Wish) -> Attempt:
    """Return the attempt that is meant, its job locked: a certificate is made of all that was written before the end.

    Raises:
        NotFound: there is none, or no such rank. Conflict: it does not run, or is being stopped by its owner.
    """
    wanted = [one for one in work.attempts.of_job(job.id) if wish.number in {None, one.number}]
    wanted = [one for one in wanted if wish.attempt_id in {None, one.id}]
    if not wanted:
        raise NotFound(f"attempt {wish.number} of job" if wish.number is not None else "attempt of job", job.id)
    chosen = wanted[-1]
    locked = work.attempts.lock_reported(chosen.region, [chosen.id])[chosen.id]
    attempt = locked.attempt
    if wish.rank >= len(attempt.ranks):
        raise NotFound("rank", f"{wish.rank} of attempt {attempt.number}, which has {len(attempt.ranks)}")
    if attempt.state is not AttemptState.RUNNING or locked.stop_reason is not None:
        state = "being stopped" if locked.stop_reason is not None else attempt.state
        message = f"attempt {attempt.number} is {state}; only a running one can be entered"
        raise Conflict("attempt_not_running", message)
    return attempt


def _check_opened(work: UnitOfWork, visit: _Visit) -> None:
    """Refuse to go on with a session that the log does not tell of: its certificate would not either."""
    wish = visit.wish
    if wish.attempt_id is not None and not work.ledger.has_session(visit.job.id, wish.session_id):
        raise Invalid("renew", _UNKNOWN_SESSION)


def _judge(
    context: Context, work: UnitOfWork, judge: Judge, visit: _Visit
) -> tuple[Refused | None, list[Mapping[str, Any]], _Ends]:
    """Return why the visit may not be, what was said of it by the reader's place and by the attempt's, and its ends."""
    job, attempt = visit.job, visit.attempt
    # Those that the attempt rests on: its certificate lists them, and so tells why somebody was let in.
    derogating = Derogating(work, judge.atlas, judge.now)
    covered = derogating.covering(job.project, job.id, held_by(attempt.verdicts), may_take=False)
    stated = policies_of(job, work.tenants.project(None, job.project), judge.atlas)
    policies = [derogated(of, covered) for of in stated]
    refusal = why_not_to(judge.atlas, visit.principal, policies, judge.now)
    evidence = judge.evidence()
    read = evidence.read(policies, visit.principal.territory, allowed=refusal is None)
    evidence.record(work, context.logged)
    if refusal is not None:
        return refusal, [read], ()
    reader = together(judge_reader(of, visit.principal.territory, judge.atlas, judge.now) for of in policies)
    judged = judge.locked(attempt)
    judge.record()
    if not judged.allowed:
        refusal = Refused(Reason.FENCED, f"attempt {attempt.number} is to stop: {judged.message}")
    end = judged.document.get("good_until")
    return refusal, [read, judged.document], (reader.good_until, datetime.fromisoformat(end) if end else None)


def _note(
    work: UnitOfWork, visit: _Visit, refusal: Refused | None, judged: list[Mapping[str, Any]], now: datetime
) -> None:
    """Write the act: an opening is about the job, so that its certificate tells of it; a renewal is no act."""
    wish, attempt, by = visit.wish, visit.attempt, visit.principal
    if refusal is None and wish.attempt_id is not None:
        return
    body: dict[str, object] = {
        "attempt": attempt.id,
        "rank": wish.rank,
        "territory": by.territory,
        "session": wish.session_id,
        "judged": judged,
    }
    act, subject = Act.EXEC_OPENED, str(visit.job.id)
    if refusal is not None:
        act, subject, body["reason"] = Act.EXEC_REFUSED, str(attempt.id), refusal.reason.value
    work.audit.write(AuditEntry(act, subject, by.key, now, visit.job.organisation, body))


def _pass(context: Context, visit: _Visit, region: Region, ends: _Ends) -> Access:
    """Return the way in, for no longer than what the judge said of it holds: a region that is cut off hears no more."""
    expires = context.clock.now() + timedelta(seconds=SESSION_S)
    expires = min([expires, *(end for end in ends if end is not None)])
    wish = visit.wish
    claims = SessionClaims(
        audience=f"gateway:{region.code}",
        session_id=wish.session_id,
        attempt_id=visit.attempt.id,
        rank=wish.rank,
        subject=visit.principal.key,
        expires_at=expires,
    )
    return Access(
        url=f"{region.gateway_url}/v1/attempts/{visit.attempt.id}/exec?rank={wish.rank}",
        token=mint_session(claims, context.grant_key),
        expires_at=expires.isoformat(),
        session_id=wish.session_id,
    )
