"""Nordan: api."""
