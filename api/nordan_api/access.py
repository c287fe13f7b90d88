"""Where to go for content: a URL of a region's gateway and a token for one object and one action."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from nordan_api.context import Context
from nordan_core.domain.errors import Unavailable
from nordan_core.domain.places import Region
from nordan_core.domain.tenants import Principal
from nordan_core.proof.tokens import AccessClaims, mint_access
from nordan_core.wire import Access

READ_S = 15 * 60.0
CALL_S = 60 * 60.0
PUT_S = 60 * 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """One object at a gateway, one action, some seconds."""

    path: str
    obj: str
    act: str
    seconds: float
    about: str = ""
    """What else the object stands for: its fence closes this way too."""
    ends: tuple[datetime | None, ...] = ()
    """When what the judge said of it may be over by itself: no pass is good for longer, also where nobody is told."""


def grant_access(context: Context, principal: Principal, region: Region, way: Way) -> Access:
    """Return a caller's way to one object of a region, for one action, for some seconds.

    Raises:
        Unavailable: the region has not joined yet, so nobody knows its gateway.
    """
    return access_for(context, principal.key, region, way)


def access_for(context: Context, subject: str, region: Region, way: Way) -> Access:
    """Return the way to one object for whom the region's access log shall name.

    Raises:
        Unavailable: the region has not joined yet, so nobody knows its gateway.
    """
    if not region.gateway_url:
        raise Unavailable(f"region {region.code} has not joined; its gateway is not known yet", 5.0)
    expires = context.clock.now() + timedelta(seconds=way.seconds)
    expires = min([expires, *(end for end in way.ends if end is not None)])
    claims = AccessClaims(f"gateway:{region.code}", way.obj, way.act, subject, expires, about=way.about)
    token = mint_access(claims, context.grant_key)
    return Access(url=f"{region.gateway_url}{way.path}", token=token, expires_at=expires.isoformat())
