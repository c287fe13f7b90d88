"""The stack on one machine: our own runners for PostgreSQL and Valkey, and `nordan up`.

Called by the `up` and `down` commands only. Starts processes of the other packages and imports none of them.
"""
