"""The atlas in force, and another one that may come into force."""
