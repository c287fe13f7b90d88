"""A region's cluster kept inside its law: what is installed there, how it is applied, and what watches it."""
