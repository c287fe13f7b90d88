"""What was done with canaries, where each belongs, and what can be looked at afterwards."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from support.canaries import Canaries, layers
from support.canary_fields import Recorder
from support.chaos_stack import FR, SE, ChaosStack
from support.machine import Watch
from support.taps import Tap
from support.tenants import Tenant

HOME_REGION, OTHER_REGION = FR, SE
#: What describes a job or its data: the control plane keeps it.
DESCRIBED = frozenset(
    {
        *("organisation", "project", "job name", "image", "argument", "environment name", "environment value"),
        *("file name", "dataset name", "dataset file name", "output name", "output file name", "missing program"),
        *("checkpoint name", "checkpoint file name", "endpoint", "readiness path", "cancelled argument"),
        *("batched job name", "batched argument", "GPU model"),
        *(f"{part} of a derogation" for part in ("basis", "reason", "ticket")),
        *(f"{part} of a declassification" for part in ("basis", "reason", "ticket", "evidence title")),
        *("legal name", "entity", "region", "grid zone", "pool", "accelerator", "issuer"),
        *("organisation of a world", "project of a world", "reason of a hold"),
    }
)
#: Bytes of a tenant: a region keeps them.
CONTENTS = frozenset({"file content", "dataset content", "checkpoint content", "output content"})
SAID = frozenset({"log output", "log error output"})
#: Parts of a call to a service: its replica hears them.
CALLED = frozenset({"path of a call", "query of a call", "header of a call", "body of a call"})
#: What goes through an interactive session.
ENTERED = frozenset({"command of a session", "terminal of a session", "typed in a session", "shown in a session"})
#: Not kept by anybody.
PASSING = (
    CALLED
    | ENTERED
    | {
        *("user agent", "query", "header", "cookie", "idempotency key", "planned argument", "refused name"),
        *("unknown field", "malformed body", "large body", "bad credential", "bad token", "bad path", "odd request"),
        *("owner's key", "viewer's key", "refused batched name"),
        *("accepted form", "range", "last event id", "condition by tag", "condition by date"),
    }
)


@dataclass
class Story:
    """What was done, and what can be looked at afterwards."""

    stack: ChaosStack
    admin: Tenant
    tenant: Tenant
    canaries: Canaries
    taps: dict[str, Tap]
    watch: Watch
    sent: Recorder
    """Where in requests canaries stood."""
    made: dict[str, str] = field(default_factory=dict)
    """Ids of what was made on the way, by kind."""
    waited: list[str] = field(default_factory=list)
    """Grants whose messages lay in the queue while the worker stood still."""
    heard: set[str] = field(default_factory=set)
    """Fields of a call that the service answered with."""

    @cached_property
    def in_database(self) -> set[str]:
        """The fields whose canaries are in some row of some table."""
        tables = self.stack.rows("select table_name from information_schema.tables where table_schema = 'public'")
        rows = [row for (name,) in tables for row in self.stack.rows(f'select to_jsonb(one)::text from "{name}" one')]
        return self.canaries.found_in("\n".join(text for (text,) in rows).encode())

    def grants(self, region: str) -> list[str]:
        """Return the grants of this tenant's attempts in a region."""
        query = """
            select g.id from attempt_grant g join attempt a on a.id = g.attempt_id
            join job j on j.id = a.job_id join project p on p.id = j.project_id
            where p.name = %(project)s and g.region = %(region)s
            """
        return [grant for (grant,) in self.stack.rows(query, {"project": self.tenant.project, "region": region})]

    def unquoted(self, data: bytes) -> bytes:
        """Return all that can be read out of some bytes."""
        return b"\n".join(layers(data))

    def folders(self, *names: str) -> bytes:
        """Return names and contents of all files in some folders of the data folder."""
        return b"\n".join(
            part
            for name in names
            for path in sorted((self.stack.data / name).rglob("*"))
            for part in (str(path).encode(), path.read_bytes() if path.is_file() else b"")
        )

    def own_files(self) -> list[Path]:
        """Return every file of the stack but programs, the database and what a region holds for its tenants."""
        data = self.stack.data
        left_out = {data / "runtime", data / "binaries", data / "postgres" / "binaries", data / "postgres" / "cluster"}
        parts = ("store", "logs", "work", "attempts", "records")
        left_out |= {data / "regions" / code / part for code in (HOME_REGION, OTHER_REGION) for part in parts}
        found = []
        for folder, folders, files in os.walk(self.stack.home):
            folders[:] = [name for name in folders if Path(folder, name) not in left_out]
            found += [path for name in files if (path := Path(folder, name)).is_file()]
        return found
