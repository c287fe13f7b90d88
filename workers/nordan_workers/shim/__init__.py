"""One small process per rank, and the warm parent that forks them.

Started by `nordan_workers.executors.local`; outlives it, and is found again. Imports the standard library and
`nordan_core.clock` only: what the parent imports, hundreds of shims hold in memory. Talks to nobody but its executor.
"""
