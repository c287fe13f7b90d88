"""Nordan: workers."""
