"""What each process is told by its environment. The only module that reads it; secrets come as files, never as values.

Every name starts with NORDAN_. Entry points load a group once and pass it down.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from nordan_core.domain.errors import OperatorError


class _Group(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NORDAN_", frozen=True, extra="ignore")


class DatabaseSettings(_Group):
    """How to reach PostgreSQL."""

    database_url: str = ""
    """`postgresql://user@/name?host=/socket/folder`; DATABASE_URL serves when this is unset."""
    database_password_file: Path | None = None
    """File that holds the password; unset when the URL or a passfile has it."""
    database_pool_size: int = 20
    """Connections per process; a request waits for one at most 10 s."""

    def sqlalchemy_url(self) -> str:
        """Return the URL with driver and password.

        Raises:
            OperatorError: when no URL is set or the password file cannot be read.
        """
        url = self.database_url or os.environ.get("DATABASE_URL", "")
        if not url:
            raise OperatorError("no database: set NORDAN_DATABASE_URL to a PostgreSQL URL")
        url = url.replace("postgres://", "postgresql://", 1)
        if self.database_password_file is not None:
            url = _with_password(url, read_secret(self.database_password_file))
        return url.replace("postgresql://", "postgresql+psycopg://", 1)


class ApiSettings(_Group):
    """The REST and worker API."""

    api_host: str = "127.0.0.1"
    api_port: int = 8471
    api_threads: int = Field(default=8, ge=1)
    """Requests at work at once; others wait their turn in order. Threads share one interpreter: more of them work no
    faster and make waits uneven."""
    api_url: str = ""
    """How others reach this api; regions get it when they join."""
    grant_key_file: Path
    """Private key that signs grants, renewals and access tokens: readable by api only. A next one lies beside it."""
    grant_key_overlap_s: float = Field(default=3900.0, ge=0)
    """What the old grant key signed holds so long after a change: a pass to a gateway lives an hour."""
    certificate_public_key_file: Path | None = None
    atlas_keys: str = ""
    """Files of public keys, separated by commas: whoever holds one may make atlases, besides releases of Nordan."""
    scheduler_urls: str = ""
    """Read-only ports of the schedulers, separated by commas; any may answer."""
    scheduler_secret_file: Path | None = None
    """What the api shows at these ports."""
    sealing_key_file: Path
    """Secret under which brokers' URLs are kept in the database; api and schedulers share it."""

    def atlas_key_files(self) -> list[Path]:
        """Return the files that `atlas_keys` names."""
        return [Path(name.strip()) for name in self.atlas_keys.split(",") if name.strip()]


class SchedulerSettings(_Group):
    """Cycle, relay, sealer and reaper."""

    scheduler_host: str = "127.0.0.1"
    scheduler_port: int = 8472
    scheduler_secret_file: Path | None = None
    """What callers of the read-only port must show; unset, it answers nobody about jobs."""
    certificate_key_file: Path
    """Private key that signs checkpoints and certificates: readable by the sealer only. A next one lies beside it."""
    sealing_key_file: Path
    """The same secret as the api's: it opens brokers' URLs."""
    cycle_idle_s: float = 1.0
    """The cycle runs at least this often; NOTIFY wakes it sooner."""
    lease_s: float = 3.0
    """Leadership lasts this long after each renewal, by the database's clock."""


class RegionSettings(_Group):
    """A region's celery worker, supervisor and gateway."""

    region_dir: Path
    join_file: Path
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8480
    uid_range: str = ""
    """`200000-200999`: user ids for attempts; empty when the supervisor does not run as root."""
    job_path: str = ""
    """Folders that come first on a job's PATH."""
    max_upload_bytes: int = 1 << 40
    pulse_file: Path | None = None
    """Supervisor and Celery worker touch it every 5 s for as long as they do their work; for probes."""
    executor: Literal["local", "kubernetes"] = "local"
    """What runs attempts: processes of this machine, or pods of a cluster. The settings below are for pods."""
    kubeconfig: Path | None = None
    """How to reach the cluster; unset, with the account of the pod that the supervisor runs in."""
    jobs_namespace: str = "nordan-jobs"
    """The one namespace that the region's jobs live in."""
    agent_image: str = ""
    """Image with Nordan in it, for the containers beside a job's own; required."""
    job_image: str = ""
    """Image of jobs that name none; unset, they are refused."""
    pod_gateway_url: str = ""
    """How pods reach the region's gateway, as `http://gateway.nordan-region:8480`; required."""
    gpu_resource: str = "nvidia.com/gpu"
    """Name under which nodes offer GPUs."""
    pod_uid: int = 65532
    """User and group of everything in a job's pod."""
    pull_secret: str = ""
    """Name of a Secret of the jobs' namespace with a registry's password; unset, none is needed."""
    kubernetes_service_host: str = Field(default="", validation_alias="KUBERNETES_SERVICE_HOST")
    """Set by Kubernetes in every pod, as is the port."""
    kubernetes_service_port: int = Field(default=443, validation_alias="KUBERNETES_SERVICE_PORT")


Group = TypeVar("Group", bound=BaseSettings)


def load_settings(kind: type[Group]) -> Group:
    """Read a group from the environment.

    Raises:
        OperatorError: names each variable that is missing or malformed, and what it is for.
    """
    try:
        return kind()
    except ValidationError as error:
        faults = [f"NORDAN_{str(one['loc'][0]).upper()}: {one['msg'].lower()}" for one in error.errors()]
        raise OperatorError(f"the environment is incomplete: {'; '.join(faults)}") from None


def read_secret(path: Path) -> str:
    """Return the secret in a file.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return path.read_text().strip()
    except OSError as error:
        raise OperatorError(f"cannot read the secret in {path}: {error.strerror}") from error


def fault_point() -> str:
    """Return NORDAN_CRASH_AT: the step at which a test wants this process to die; empty in production."""
    return os.environ.get("NORDAN_CRASH_AT", "")


def stop_point() -> str:
    """Return NORDAN_STOP_AT: the step at which a test wants this process to stop; empty in production."""
    return os.environ.get("NORDAN_STOP_AT", "")


def _with_password(url: str, password: str) -> str:
    scheme, rest = url.split("://", 1)
    user, at, tail = rest.partition("@")
    if not at:
        raise OperatorError("NORDAN_DATABASE_URL names no user; write postgresql://user@host/name")
    return f"{scheme}://{user.split(':', 1)[0]}:{quote(password, safe='')}@{tail}"
