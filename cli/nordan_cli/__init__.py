"""Nordan: cli."""
