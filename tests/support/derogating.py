"""What members do to get a derogation: one asks, two others approve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from support.lab import Json, Lab

DEROGATIONS = "/v1/projects/default/derogations"


def a_wish(lab: Lab, **changes: Any) -> Json:
    """Return a body that asks to bear exposure to the US for a week."""
    return {
        "facet": "forbid_exposure",
        "to": [],
        "subjects": ["project/default"],
        "not_after": (lab.clock.now() + timedelta(days=7)).isoformat(),
        "max_uses": 5,
        "basis": "contract, annex 4",
        "reason": "the operator was bought; data move next week",
        "ticket": "OPS-1",
        **changes,
    }


@dataclass
class Members:
    """Three members of an organisation, each with a key that an administrator handed out."""

    lab: Lab
    asks: str
    first: str
    second: str

    @classmethod
    def of(cls, lab: Lab, organisation: str = "home") -> Members:
        """Make their keys."""
        return cls(lab, *(lab.key(organisation, "owner", territory="FR") for _ in range(3)))

    def ask(self, *, expect: int = 201, **changes: Any) -> Json:
        """Ask for a derogation."""
        answer: Json = self.lab.call(
            "POST", DEROGATIONS, a_wish(self.lab, **changes), key=self.asks, expect=expect
        ).json()
        return answer

    def approve(self, derogation: Json, key: str, *, expect: int = 200, **changes: Any) -> Json:
        """Approve a derogation."""
        body = {"digest": derogation["digest"], **changes}
        path = f"{DEROGATIONS}/{derogation['id']}:approve"
        answer: Json = self.lab.call("POST", path, body, key=key, expect=expect).json()
        return answer

    def withdraw(self, derogation: Json, key: str, *, expect: int = 200) -> Json:
        """Take one's own approval back."""
        path = f"{DEROGATIONS}/{derogation['id']}:withdraw"
        answer: Json = self.lab.call("POST", path, {}, key=key, expect=expect).json()
        return answer

    def grant(self, **changes: Any) -> Json:
        """Ask for one and have it approved twice."""
        asked = self.ask(**changes)
        self.approve(asked, self.first)
        return self.approve(asked, self.second)

    def revoke(self, derogation: Json) -> Json:
        """Take one back."""
        path = f"{DEROGATIONS}/{derogation['id']}:revoke"
        answer: Json = self.lab.call("POST", path, {}, key=self.first, expect=200).json()
        return answer

    def show(self, derogation: Json) -> Json:
        """Return one as it is now."""
        answer: Json = self.lab.call("GET", f"{DEROGATIONS}/{derogation['id']}", key=self.asks, expect=200).json()
        return answer
