"""Where everything of a local stack lies, and which numeric user owns what.

Used by every module of `embedded`; decides nothing at run time. Paths and numbers that processes are told by
environment variables come from here, so a folder has one name in one place.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nordan_core.domain.errors import OperatorError

#: Numeric users without an entry in /etc/passwd: nothing is added to the machine, nothing has to be removed.
POSTGRES_UID = 60800
CONTROL_UID = 60801
FIRST_REGION_UID = 60810
#: Attempts get a user each, and all that a user runs ends with its attempt: two stacks on one machine must not share
#: numbers. So each data folder has a block of its own among those that systemd's table leaves to nobody. A user
#: namespace often maps lower numbers only, or just the first 65 536, hence the second and third choice.
ATTEMPT_BLOCKS = range(1_879_100_000, 2_147_300_000, 100_000)
FIRST_ATTEMPT_UID = 200_000
LAST_LOW_UID = 524_287
FIRST_ATTEMPT_UID_IN_NAMESPACE = 20_000
ATTEMPT_UIDS_PER_REGION = 1000
#: Keeps the ranges of user numbers finite; a local stack has a handful.
MAX_REGIONS = 100
#: A Unix socket's path holds 107 bytes; the longest that we make below the data folder takes this many.
LONGEST_SOCKET_SUFFIX = len("/regions//run/supervisor.sock")
LONGEST_REGION_CODE = 24
MAX_DATA_DIR_BYTES = 107 - LONGEST_SOCKET_SUFFIX - LONGEST_REGION_CODE
DEFAULT_ROOT_DATA_DIR = Path("/var/lib/nordan")


@dataclass(frozen=True, slots=True)
class Identity:
    """A numeric user and group that a process runs under and that owns its files."""

    uid: int
    gid: int

    @classmethod
    def own(cls) -> Identity:
        """Return the identity of this process."""
        return cls(os.geteuid(), os.getegid())


@dataclass(frozen=True, slots=True)
class Identities:
    """Who runs what. Not root, everybody is the invoking user."""

    operator: Identity
    postgres: Identity
    control: Identity
    is_root: bool
    first_attempt_uid: int = FIRST_ATTEMPT_UID

    @classmethod
    def of_this_process(cls, data: Path = Path()) -> Identities:
        """Return separate users for root, those of attempts by the data folder, and the invoking user for others."""
        own = Identity.own()
        if own.uid != 0:
            return cls(own, own, own, is_root=False)
        first = first_attempt_uid(data)
        return cls(own, _same(POSTGRES_UID), _same(CONTROL_UID), is_root=True, first_attempt_uid=first)

    def region(self, index: int) -> Identity:
        """Return the user of a region's broker, Celery worker and gateway."""
        return _same(FIRST_REGION_UID + index) if self.is_root else self.operator

    def attempt_uids(self, index: int) -> str:
        """Return the range for a region's attempts as `first-last`; empty when they cannot be kept apart."""
        if not self.is_root:
            return ""
        first = self.first_attempt_uid + index * ATTEMPT_UIDS_PER_REGION
        return f"{first}-{first + ATTEMPT_UIDS_PER_REGION - 1}"


@dataclass(frozen=True, slots=True)
class Layout:
    """The data folder's parts."""

    data: Path

    @property
    def lock(self) -> Path:
        """Held by the running `up`."""
        return self.data / "lock"

    @property
    def control(self) -> Path:
        """Secrets of the control plane; its user's alone."""
        return self.data / "control"

    @property
    def keys(self) -> Path:
        """Private signing keys."""
        return self.control / "keys"

    @property
    def grant_key(self) -> Path:
        """Signs grants; read by the api."""
        return self.keys / "grant.key"

    @property
    def certificate_key(self) -> Path:
        """Signs certificates; read by the sealer."""
        return self.keys / "certificate.key"

    @property
    def certificate_public_key(self) -> Path:
        """Written beside its private key by `nordan_core.proof.keys`."""
        return self.keys / "certificate.key.pub"

    @property
    def admin_key(self) -> Path:
        """The first API key, written once by `nordan_api.bootstrap`."""
        return self.control / "admin-key"

    @property
    def scheduler_secret(self) -> Path:
        """What the api shows at the schedulers' read-only ports."""
        return self.control / "scheduler-secret"

    @property
    def database_password(self) -> Path:
        """The application role's password."""
        return self.control / "database-password"

    @property
    def sealing_key(self) -> Path:
        """Opens the brokers' URLs that the database keeps; read by api and schedulers."""
        return self.control / "sealing-key"

    @property
    def former_brokers(self) -> Path:
        """Where brokers' passwords stood in the clear before the first release; removed when it is found."""
        return self.control / "brokers.json"

    @property
    def postgres(self) -> Path:
        """Everything of the embedded PostgreSQL."""
        return self.data / "postgres"

    @property
    def binaries(self) -> Path:
        """Server programs for users who cannot read the operator's."""
        return self.data / "binaries"

    @property
    def runtime(self) -> Path:
        """Interpreter and packages for users who cannot read the operator's."""
        return self.data / "runtime"

    @property
    def logs(self) -> Path:
        """One file per process, with a size limit."""
        return self.data / "logs"

    @property
    def processes(self) -> Path:
        """Records of started processes, so that the next `up` finds what a killed one left."""
        return self.data / "processes"

    @property
    def status(self) -> Path:
        """What the running `up` says of itself; read by `up --detach` and `down`."""
        return self.data / "up.json"

    @property
    def ports(self) -> Path:
        """Ports by name, kept over restarts."""
        return self.data / "ports.json"

    @property
    def region_numbers(self) -> Path:
        """Region code to small number, kept for ever: users are derived from it."""
        return self.data / "region-numbers.json"

    @property
    def world(self) -> Path:
        """The world that was applied last; of it, the next `up` without --world applies what is not described yet."""
        return self.data / "world.yaml"

    @property
    def regions(self) -> Path:
        """A folder per region."""
        return self.data / "regions"

    def region(self, code: str) -> RegionLayout:
        """Return the folder of a region.

        Raises:
            OperatorError: the code is too long for a socket path below this data folder.
        """
        if len(code.encode()) > LONGEST_REGION_CODE:
            raise OperatorError(
                f"The region code {code!r} has more than {LONGEST_REGION_CODE} characters, which is too long for the "
                "sockets of a local region. Give it a shorter code or another executor than local."
            )
        return RegionLayout(self.regions / code)


@dataclass(frozen=True, slots=True)
class RegionLayout:
    """One region's folder."""

    folder: Path

    @property
    def join(self) -> Path:
        """Join bundle with the region's credential and broker URL."""
        return self.folder / "join.json"

    @property
    def run(self) -> Path:
        """Sockets of the supervisor and its shims."""
        return self.folder / "run"

    @property
    def attempts(self) -> Path:
        """Records of supervisor and shims."""
        return self.folder / "attempts"

    @property
    def work(self) -> Path:
        """A folder per attempt, owned by the attempt."""
        return self.folder / "work"

    @property
    def store(self) -> Path:
        """Content by digest: blobs and manifests."""
        return self.folder / "store"

    @property
    def logs(self) -> Path:
        """Output of the jobs' processes; tenants' content."""
        return self.folder / "logs"

    @property
    def broker(self) -> Path:
        """Configuration and passwords of the region's Valkey."""
        return self.folder / "broker"


def default_data_dir(xdg_data_home: str = "") -> Path:
    """Return the machine's data folder for root, the user's own for everybody else."""
    if os.geteuid() == 0:
        return DEFAULT_ROOT_DATA_DIR
    return (Path(xdg_data_home) if xdg_data_home else Path.home() / ".local" / "share") / "nordan"


def check_data_dir(data: Path) -> Path:
    """Return the absolute path of a data folder that sockets fit below.

    Raises:
        OperatorError: the path is too long.
    """
    absolute = data.expanduser().resolve()
    length = len(os.fsencode(absolute))
    if length > MAX_DATA_DIR_BYTES:
        raise OperatorError(
            f"The data folder's path has {length} bytes and sockets are made below it, for which the system allows "
            f"{MAX_DATA_DIR_BYTES}. Choose a shorter one with --data-dir."
        )
    return absolute


def first_attempt_uid(
    data: Path, subuid: Path = Path("/etc/subuid"), uid_map: Path = Path("/proc/self/uid_map")
) -> int:
    """Return where the attempts' users of a data folder begin, clear of numbers that are lent to people's containers.

    All processes of an attempt's user are ended with the attempt, so the number must be nobody else's.
    """
    size = MAX_REGIONS * ATTEMPT_UIDS_PER_REGION
    lent = _lent_ranges(subuid)
    turn = int.from_bytes(hashlib.sha256(os.fsencode(data)).digest()[:8]) % len(ATTEMPT_BLOCKS)
    low = range(FIRST_ATTEMPT_UID, LAST_LOW_UID - size, size)
    for first in chain(ATTEMPT_BLOCKS[turn:], ATTEMPT_BLOCKS[:turn], low):
        is_lent = any(start < first + size and first < start + count for start, count in lent)
        if not is_lent and is_mapped(first + size - 1, uid_map):
            return first
    return FIRST_ATTEMPT_UID_IN_NAMESPACE


def is_mapped(uid: int, uid_map: Path = Path("/proc/self/uid_map")) -> bool:
    """Tell whether this user namespace knows the uid; True where the kernel does not say."""
    try:
        lines = uid_map.read_text().splitlines()
    except OSError:
        return True
    ranges = [(int(inside), int(count)) for inside, _, count in (line.split() for line in lines)]
    return any(inside <= uid < inside + count for inside, count in ranges)


def _lent_ranges(subuid: Path) -> list[tuple[int, int]]:
    try:
        lines = [line.split(":") for line in subuid.read_text().splitlines()]
    except OSError:
        return []
    return [
        (int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[1].isdigit() and line[2].isdigit()
    ]


def _same(number: int) -> Identity:
    return Identity(number, number)
