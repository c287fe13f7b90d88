"""One Valkey per region: loopback only, no default user, nothing kept on disk, one user that can do a queue's work.

Used by `up`. What its users may do is in `nordan_core.broker_users`. The inspector's password stays with the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import redis

from nordan_core.broker_users import INSPECTOR, users_file
from nordan_core.embedded.files import bring_file, make_folder, secret_in, write_file
from nordan_core.embedded.layout import Identities, Identity, Layout
from nordan_core.embedded.packaged import valkey_server
from nordan_core.embedded.ports import LOOPBACK
from nordan_core.embedded.processes import ProcessSpec

MEMORY_LIMIT = "64mb"


@dataclass(frozen=True, slots=True)
class Valkey:
    """The broker of one region."""

    layout: Layout
    identities: Identities
    code: str
    index: int
    """The region's number, from which its user follows."""
    port: int

    @property
    def url(self) -> str:
        """Broker URL with the password in it: for files of mode 0600 only."""
        return f"redis://{quote(self.code)}:{self._secret('password')}@{LOOPBACK}:{self.port}/0"

    @property
    def inspector_url(self) -> str:
        """URL of the user that may look at everything; its password is the operator's alone."""
        return f"redis://{INSPECTOR}:{self._secret('inspector-password')}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write configuration and users; the region's folder must exist."""
        make_folder(self._folder, self._identity, 0o700)
        write_file(self._folder / "users.acl", self._users(), self._identity)
        write_file(self._folder / "valkey.conf", self._configuration(), self._identity)
        if self.identities.is_root:
            make_folder(self.layout.binaries, self.identities.operator, 0o755)
            bring_file(valkey_server(), self._server)

    def spec(self) -> ProcessSpec:
        """Return how the server is run."""
        return ProcessSpec(
            name=f"valkey-{self.code}",
            command=(str(self._server), str(self._folder / "valkey.conf")),
            environment={"LANG": "C", "PATH": "/usr/bin:/bin"},
            log=self.layout.logs / f"valkey-{self.code}.log",
            identity=self._identity,
            cwd=self._folder,
        )

    def answers(self) -> bool:
        """Tell whether the server answers to the region's user."""
        with redis.Redis.from_url(self.url, socket_timeout=2.0) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    @property
    def _identity(self) -> Identity:
        return self.identities.region(self.index)

    @property
    def _folder(self) -> Path:
        return self.layout.region(self.code).broker

    @property
    def _server(self) -> Path:
        return self.layout.binaries / "valkey-server" if self.identities.is_root else valkey_server()

    def _secret(self, name: str) -> str:
        return secret_in(self._folder / name, self.identities.operator)

    def _users(self) -> str:
        return users_file(self.code, self._secret("password"), self._secret("inspector-password"))

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {self.port}",
                "protected-mode yes",
                f'aclfile "{self._folder}/users.acl"',
                f'dir "{self._folder}"',
                # Nudges are made again from PostgreSQL: what is kept here can be lost.
                'save ""',
                "appendonly no",
                f"maxmemory {MEMORY_LIMIT}",
                "maxmemory-policy noeviction",
                # Refused commands are remembered with their keys; a short memory serves.
                "acllog-max-len 16",
                "slowlog-max-len 0",
                "daemonize no",
                "loglevel notice",
                "",
            )
        )
