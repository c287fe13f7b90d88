"""May this request touch this object? Token, then what it says, then the fence list; each failure has its own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from nordan_core.clock import Clock
from nordan_core.proof.errors import TokenError, TokenExpired, TokenForged, TokenNotYetValid
from nordan_core.proof.keys import PublicKey
from nordan_core.proof.tokens import AccessClaims, SessionClaims, read_access, read_session
from nordan_workers.gateway.lists import Lists
from nordan_workers.gateway.problems import Problem
from nordan_workers.joining import Joined
from nordan_workers.trust import Trust

#: Longer headers are refused before anything is decoded.
MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Checks tokens against this region's keys, name and fences."""

    joined: Joined
    lists: Lists
    clock: Clock
    trust: Trust

    def admit(self, request: Request, act: str, obj: str) -> AccessClaims:
        """Return the claims of a request that may do `act` to `obj`.

        Raises:
            Problem: 401 for a token that does not hold, 403 for one that holds for something else, or a fence.
        """
        claims = self.read(request)
        self.check(claims, act, obj)
        return claims

    def check(self, claims: AccessClaims, act: str, obj: str) -> None:
        """Raise `Problem` unless claims that hold permit `act` on `obj`, and the object is not fenced."""
        if claims.act != act:
            raise Problem(403, "wrong_action", f"the token is good for {claims.act}, not for {act}")
        if claims.obj != obj:
            raise Problem(403, "wrong_object", "the token is good for another object")
        self.check_fences(claims)

    def check_fences(self, claims: AccessClaims) -> None:
        """Raise `Problem` where the object of claims has been fenced, or this leave was taken back."""
        if self.is_fenced(claims):
            raise Problem(403, "fenced", self._why(claims))

    def read(self, request: Request) -> AccessClaims:
        """Return the claims of a token that holds here and now, whatever it is good for."""
        token = _bearer(request)
        try:
            claims = read_access(token, keys=self._keys(), now=self.clock.now())
        except TokenError as error:
            raise _unauthenticated(_code(error), str(error)) from error
        if claims.audience != self.joined.audience:
            raise Problem(403, "wrong_region", "the token is good at another region's gateway")
        return claims

    def admit_session(self, request: HTTPConnection, attempt_id: str, rank: int) -> SessionClaims:
        """Return the claims of a request that may run a command in a rank.

        Raises:
            Problem: as `admit`.
        """
        claims = self.read_session(_bearer(request))
        if (claims.attempt_id, claims.rank) != (attempt_id, rank):
            raise Problem(403, "wrong_object", "the token is good for another attempt or rank")
        if f"attempt:{attempt_id}" in self.lists.fenced():
            raise Problem(403, "fenced", "this attempt is fenced: its policy no longer allows it to be entered here")
        return claims

    def read_session(self, token: str) -> SessionClaims:
        """Return the claims of a pass to a session that holds here and now."""
        try:
            claims = read_session(token, keys=self._keys(), now=self.clock.now())
        except TokenError as error:
            raise _unauthenticated(_code(error), str(error)) from error
        if claims.audience != self.joined.audience:
            raise Problem(403, "wrong_region", "the token is good at another region's gateway")
        return claims

    def is_open(self, claims: AccessClaims) -> bool:
        """Tell whether a long answer may go on: the token has not expired and the object is not fenced."""
        return self.clock.now() < claims.expires_at and not self.is_fenced(claims)

    def is_fenced(self, claims: AccessClaims) -> bool:
        """Tell whether what the claims are about is closed, also to whoever was let in before."""
        return not self.lists.fenced().isdisjoint(claims.names)

    def _why(self, claims: AccessClaims) -> str:
        if any(_is_of_everybody(one) for one in claims.names & self.lists.fenced()):
            return f"this object is fenced: its policy no longer allows to {claims.act} it here"
        why = "its policy no longer allows it, or the key that it was given to was revoked or has expired"
        return f"leave to {claims.act} this here was taken back: {why}"

    def _keys(self) -> Mapping[str, PublicKey]:
        self.trust.learn(self.lists.successions())
        return self.trust.live()


def _is_of_everybody(name: str) -> bool:
    """Tell whether what closes a pass does so for all; an upload, and an object "for" somebody, are one key's."""
    return not name.startswith("upload:") and " for " not in name


def _bearer(request: HTTPConnection) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthenticated("token_missing", "send the access token as Authorization: Bearer …")
    if len(token) > MAX_TOKEN:
        raise _unauthenticated("token_malformed", f"a token has at most {MAX_TOKEN} characters")
    return token.strip()


def _unauthenticated(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


def _code(error: TokenError) -> str:
    match error:
        case TokenExpired():
            return "token_expired"
        case TokenNotYetValid():
            return "token_not_yet_valid"
        case TokenForged():
            return "token_forged"
    return "token_malformed"
