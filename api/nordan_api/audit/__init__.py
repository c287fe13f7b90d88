"""The audit log from outside: entries, checkpoints, keys."""
