"""Which acts are judged, and what the judge must have said for each: the rules that `replay` holds the log to."""

from __future__ import annotations

from collections.abc import Mapping

from nordan_core.proof.judgement import Question

#: What the log must say for each judged act. None: either, as the act may be refused for another reason as well.
JUDGED: Mapping[str, bool | None] = {
    "job_accepted": True,
    "job_refused": None,
    "grant_issued": True,
    "grant_redeemed": True,
    "grant_renewed": True,
    "grant_denied": False,
    "upload_allowed": True,
    "upload_refused": False,
    "copy_allowed": True,
    "copy_refused": False,
    "artifact_stored": True,
    "read_allowed": True,
    "read_refused": False,
    "exec_opened": True,
    "exec_refused": False,
}
_REST, _READ, _RUN = frozenset({Question.REST}), frozenset({Question.READ}), frozenset({Question.RUN})
_PLACE, _DESCRIBE = frozenset({Question.PLACE}), frozenset({Question.DESCRIBE})
#: What the judge must have been asked for each, in any of these ways: no act rests on the answer to another question.
ASKED: Mapping[str, tuple[frozenset[Question], ...]] = {
    "job_accepted": (_PLACE,),
    "job_refused": (_PLACE, _DESCRIBE),
    **dict.fromkeys(("grant_issued", "grant_redeemed", "grant_renewed", "grant_denied"), (_RUN,)),
    **dict.fromkeys(("upload_allowed", "upload_refused", "copy_allowed", "copy_refused"), (_REST,)),
    "artifact_stored": (_RUN, _REST),
    **dict.fromkeys(("read_allowed", "read_refused"), (_READ,)),
    "exec_opened": (_READ | _RUN,),
    "exec_refused": (_READ, _READ | _RUN),
}
#: Reasons of a refused job that are the judge's own.
RESIDENCY_REASONS = frozenset({"residency_unsatisfiable", "control_plane_outside_describe", "rejected_by_policy"})


#: A grant denied for this reason was not judged: there was nothing left to judge by.
POOL_GONE = "pool_gone"


def is_judged(act: str, body: Mapping[str, object]) -> bool:
    """Tell whether an entry of this act must say how it was judged."""
    return act in JUDGED and not (act == "grant_denied" and body.get("reason") == POOL_GONE)


def expected(act: str, body: Mapping[str, object]) -> bool | None:
    """Return what the judge must have said for an act; None where both are possible."""
    if act == "job_refused":
        return body.get("reason") not in RESIDENCY_REASONS
    return JUDGED.get(act)


def judgements_in(body: Mapping[str, object]) -> list[object] | None:
    """Return the judgements that a body holds, `verdict` of a grant or the list `judged`; None where it holds none."""
    judged = body.get("judged")
    if isinstance(judged, list):
        return judged
    return [body["verdict"]] if "verdict" in body else None
