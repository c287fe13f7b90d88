"""A region on this machine: its folder, its broker, its join bundle, and how its three processes are run.

Used by `up` for every region whose executor is local. The region's own processes get its credential and broker
only; nothing of the control plane or of another region.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from nordan_core.embedded.admin import Admin
from nordan_core.embedded.control import Stack
from nordan_core.embedded.data_dir import prepare_region, region_number
from nordan_core.embedded.files import write_file
from nordan_core.embedded.layout import Identity, RegionLayout
from nordan_core.embedded.ports import LOOPBACK, Ports
from nordan_core.embedded.processes import ProcessSpec
from nordan_core.embedded.valkey import Valkey
from nordan_core.wire import JoinRequest

#: Time for the supervisor to write its records and send what it has to report.
SUPERVISOR_STOP_S = 10.0
#: What an executor without root can keep apart: nothing, so it serves one organisation.
_TENANCY_WITHOUT_ROOT = ("single",)


@dataclass(frozen=True, slots=True)
class LocalRegion:
    """One region of this stack."""

    stack: Stack
    code: str
    index: int
    broker_port: int
    gateway_port: int

    @classmethod
    def prepare(cls, stack: Stack, code: str, ports: Ports) -> LocalRegion:
        """Make the region's folders and choose, or find again, its number and ports.

        Raises:
            OperatorError: the code cannot be served here.
        """
        index = region_number(stack.layout.region_numbers, code, stack.identities.operator)
        prepare_region(stack.layout.region(code), stack.identities, index)
        return cls(stack, code, index, ports.take(f"valkey-{code}"), ports.take(f"gateway-{code}"))

    @property
    def layout(self) -> RegionLayout:
        """The region's folder."""
        return self.stack.layout.region(self.code)

    @property
    def gateway_url(self) -> str:
        """Where clients reach the region's content."""
        return f"http://{LOOPBACK}:{self.gateway_port}"

    def broker(self) -> Valkey:
        """Return the region's broker."""
        return Valkey(self.stack.layout, self.stack.identities, self.code, self.index, self.broker_port)

    def join(self, admin: Admin) -> None:
        """Join the control plane anew and write the bundle for the region's own user.

        Raises:
            OperatorError, Unavailable: the api refuses or does not answer.
        """
        broker_url = self.broker().url
        request = JoinRequest(gateway_url=self.gateway_url, broker_url=broker_url)
        if not self.stack.identities.is_root:
            request = request.model_copy(update={"offers_tenancy": _TENANCY_WITHOUT_ROOT})
        bundle = {**admin.join(self.code, request).model_dump(mode="json"), "broker_url": broker_url}
        write_file(self.layout.join, json.dumps(bundle, indent=1), self._user)

    def processes(self) -> tuple[ProcessSpec, ...]:
        """Return supervisor, gateway and Celery worker, in the order in which they are started."""
        uid_range = {"NORDAN_UID_RANGE": self.stack.identities.attempt_uids(self.index)}
        return (
            self._spec("supervisor", "nordan_workers.supervisor", self.stack.identities.operator, uid_range),
            self._spec("gateway", "nordan_workers.gateway", self._user, {}),
            self._spec("worker", "nordan_workers.app", self._user, {}),
        )

    @property
    def _user(self) -> Identity:
        return self.stack.identities.region(self.index)

    def _spec(self, part: str, module: str, identity: Identity, settings: Mapping[str, str]) -> ProcessSpec:
        name = f"{part}-{self.code}"
        shared = {
            "NORDAN_REGION": self.code,
            "NORDAN_REGION_DIR": str(self.layout.folder),
            "NORDAN_JOIN_FILE": str(self.layout.join),
            "NORDAN_GATEWAY_HOST": LOOPBACK,
            "NORDAN_GATEWAY_PORT": str(self.gateway_port),
            "NORDAN_JOB_PATH": self.stack.runtime.path,
        }
        return ProcessSpec(
            name=name,
            command=self.stack.command(module),
            environment=self.stack.environment({**shared, **settings}),
            log=self.stack.layout.logs / f"{name}.log",
            identity=identity,
            cwd=self.layout.folder,
            # Supervisor (root) and gateway (the region's user) share the store and the logs by group.
            umask=0o007,
            stop_timeout_s=SUPERVISOR_STOP_S,
        )
