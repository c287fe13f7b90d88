"""PostgreSQL: tables, migrations, repositories and the unit of work.

Rows never leave this package: repositories return frozen domain objects. Only the unit of work commits. Control plane
only: workers and the CLI never import it.
"""
