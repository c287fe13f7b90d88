"""How the processes of the control plane are run: database migration, bootstrap, api and schedulers.

Used by `up`. Says what to run, as whom and with which settings; starts nothing itself. Secrets go by file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.ports import LOOPBACK
from nordan_core.embedded.processes import ProcessSpec
from nordan_core.embedded.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Stack:
    """What all processes of one `up` have in common."""

    layout: Layout
    identities: Identities
    runtime: Runtime
    handed_on: Mapping[str, str]
    """The invoker's own settings; what we set wins over them."""

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of one Python process."""
        libraries = (self.runtime.environment.get("LD_LIBRARY_PATH"), self.handed_on.get("LD_LIBRARY_PATH"))
        found = ":".join(path for path in libraries if path)
        return {
            **self.handed_on,
            "PATH": self.runtime.path,
            "HOME": "/",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            **({"LD_LIBRARY_PATH": found} if found else {}),
            **settings,
        }

    def command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """Return the command line that runs one of our modules; -P keeps the working folder out of the import path."""
        return (str(self.runtime.python), "-P", "-m", module, *arguments)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Settings of the control plane's processes."""

    stack: Stack
    database_url: str
    has_own_database: bool
    """Whether the database is the embedded one, whose password is in a file of ours."""
    api_port: int
    scheduler_ports: tuple[int, ...]

    @property
    def api_url(self) -> str:
        """How clients and regions reach the api."""
        return f"http://{LOOPBACK}:{self.api_port}"

    def migrate(self) -> ProcessSpec:
        """Return the run that brings the schema up to date."""
        return self._spec("migrate", self.stack.command("nordan_core.store.migrate"), {})

    def create_key(self, name: str) -> ProcessSpec:
        """Return the run that makes a signing key; it writes nothing but the two files."""
        file = self.stack.layout.keys / name
        return self._spec(f"create-{name}", self.stack.command("nordan_core.proof.keys", "create", str(file)), {})

    def bootstrap(self) -> ProcessSpec:
        """Return the run that makes the first organisation, project and key, if there are none."""
        settings = {"NORDAN_ADMIN_KEY_FILE": str(self.stack.layout.admin_key)}
        return self._spec("bootstrap", self.stack.command("nordan_api.bootstrap"), settings)

    def api(self) -> ProcessSpec:
        """Return the REST and worker API."""
        layout = self.stack.layout
        settings = {
            "NORDAN_API_HOST": LOOPBACK,
            "NORDAN_API_PORT": str(self.api_port),
            "NORDAN_GRANT_KEY_FILE": str(layout.grant_key),
            "NORDAN_CERTIFICATE_PUBLIC_KEY_FILE": str(layout.certificate_public_key),
            "NORDAN_SCHEDULER_URLS": ",".join(f"http://{LOOPBACK}:{port}" for port in self.scheduler_ports),
        }
        return self._spec("api", self.stack.command("nordan_api"), settings)

    def scheduler(self, number: int) -> ProcessSpec:
        """Return one scheduler, counted from 1; whichever wins the election leads."""
        layout = self.stack.layout
        settings = {
            "NORDAN_SCHEDULER_HOST": LOOPBACK,
            "NORDAN_SCHEDULER_PORT": str(self.scheduler_ports[number - 1]),
            "NORDAN_CERTIFICATE_KEY_FILE": str(layout.certificate_key),
            "NORDAN_CERTIFICATE_PUBLIC_KEY_FILE": str(layout.certificate_public_key),
        }
        return self._spec(f"scheduler-{number}", self.stack.command("nordan_scheduler"), settings)

    def _spec(self, name: str, command: tuple[str, ...], settings: Mapping[str, str]) -> ProcessSpec:
        layout = self.stack.layout
        shared = {
            "NORDAN_DATABASE_URL": self.database_url,
            "NORDAN_API_URL": self.api_url,
            "NORDAN_SEALING_KEY_FILE": str(layout.sealing_key),
            "NORDAN_SCHEDULER_SECRET_FILE": str(layout.scheduler_secret),
        }
        if self.has_own_database:
            shared["NORDAN_DATABASE_PASSWORD_FILE"] = str(layout.database_password)
        return ProcessSpec(
            name=name,
            command=command,
            environment=self.stack.environment({**shared, **settings}),
            log=layout.logs / f"{name}.log",
            identity=self.stack.identities.control,
            cwd=layout.control,
        )
