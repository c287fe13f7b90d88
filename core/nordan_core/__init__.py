"""Nordan: core."""
