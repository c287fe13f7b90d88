"""How attempts are run: one protocol (`base`), and an executor per kind of machine."""
