"""The one table of who may do what. `tests/api/test_permissions.py` walks every route with every role."""

from __future__ import annotations

from enum import StrEnum

from nordan_core.domain.tenants import Role


class Permission(StrEnum):
    """Something that a route does."""

    LOOK = "look"
    """See oneself and the market: regions, pools, prices."""
    READ_JOBS = "read_jobs"
    READ_CONTENT = "read_content"
    """Logs, artifacts, services: also judged by where the reader sits."""
    SUBMIT = "submit"
    EXEC = "exec"
    """Run commands inside a running job: more than to read it, so viewers may not; also judged like reading."""
    PUT_DATA = "put_data"
    COPY_DATA = "copy_data"
    """Bring bytes from one region into another: a transfer, so never a part of anything else."""
    REQUEST_WIDENING = "request_widening"
    """Ask for a derogation or a declassification."""
    APPROVE_WIDENING = "approve_widening"
    """Give one of the two approvals, of one's own organisation, or take either back."""
    MANAGE_PROJECTS = "manage_projects"
    MANAGE_KEYS = "manage_keys"
    MANAGE_PLATFORM = "manage_platform"
    READ_AUDIT = "read_audit"


_VIEWER = frozenset({Permission.LOOK, Permission.READ_JOBS, Permission.READ_CONTENT})
_SUBMITTER = _VIEWER | {
    Permission.SUBMIT,
    Permission.EXEC,
    Permission.PUT_DATA,
    Permission.COPY_DATA,
    Permission.REQUEST_WIDENING,
}
_OWNER = _SUBMITTER | {Permission.MANAGE_PROJECTS, Permission.MANAGE_KEYS, Permission.APPROVE_WIDENING}

ALLOWED: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.SUBMITTER: _SUBMITTER,
    Role.OWNER: _OWNER,
    Role.ADMIN: _OWNER | {Permission.MANAGE_PLATFORM, Permission.READ_AUDIT},
}


def may(role: Role, permission: Permission) -> bool:
    """Tell whether a role holds a permission."""
    return permission in ALLOWED[role]
