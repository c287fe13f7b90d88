"""What each user of a region's broker may do, as the text of a Valkey ACL file.

Used by `nordan up` and by `nordan admin regions join`. The region's user is what relay and Celery worker log in with;
should its password leak, it can push and take nudges and nothing else. The inspector reads, and changes nothing.
"""

from __future__ import annotations

import hashlib

INSPECTOR = "inspector"
#: Keys of the queue and of Kombu's book-keeping about it.
KEYS = ("nudges*", "_kombu.*", "unacked*")
#: What Kombu's Redis transport sends for one direct queue without results, events or remote control.
COMMANDS = (
    *("ping", "hello", "auth", "select", "client|setinfo", "client|setname", "client|id", "info"),
    *("multi", "exec", "watch", "unwatch", "discard"),
    *("lpush", "rpush", "rpop", "brpop", "llen", "del", "exists", "pexpire", "expire"),
    *("sadd", "srem", "smembers"),
    *("hset", "hget", "hdel", "zadd", "zrem", "zrange", "zrevrangebyscore", "zrangebyscore"),
    # The lock around putting back unacknowledged messages; scripts run with this user's own rights.
    *("set", "get", "pttl", "time", "evalsha", "script|load", "script|exists"),
)
INSPECTOR_COMMANDS = (
    *("ping", "hello", "auth", "select", "client|setinfo", "client|id", "info", "monitor", "scan", "dbsize", "type"),
    *("dump", "get", "lrange", "llen", "hgetall", "smembers", "zrange", "acl|log", "acl|whoami"),
)


def users_file(region: str, password: str, inspector_password: str = "") -> str:
    """Return the ACL file of a region's broker; without a password there is no inspector."""
    keys = " ".join(f"~{pattern}" for pattern in KEYS)
    rights = " ".join(f"+{command}" for command in COMMANDS)
    lines = ["user default off resetpass -@all"]
    lines.append(f"user {region} on {_hashed(password)} {keys} resetchannels -@all {rights}")
    if inspector_password:
        views = " ".join(f"+{command}" for command in INSPECTOR_COMMANDS)
        lines.append(f"user {INSPECTOR} on {_hashed(inspector_password)} ~* resetchannels -@all {views}")
    return "".join(f"{line}\n" for line in lines)


def _hashed(password: str) -> str:
    # Valkey stores and compares SHA-256; the passwords are 256 random bits, so no slow hash is needed.
    return "#" + hashlib.sha256(password.encode()).hexdigest()
