"""Which entries of a checkpoint folder are finished: one rule for the supervisor and for the agent in a pod.

A finished checkpoint is an entry that the program renamed into place: names that begin with a dot or end in `.tmp`
are still being written.
"""

MAX_NAME = 255


def is_finished(name: str) -> bool:
    """Tell whether an entry of this name is a checkpoint that its program has finished."""
    return (
        bool(name)
        and not name.startswith(".")
        and not name.endswith(".tmp")
        and "/" not in name
        and len(name) <= MAX_NAME
        and name.isprintable()
    )
