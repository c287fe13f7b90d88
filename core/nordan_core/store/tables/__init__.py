"""The SQLModel tables, a file per noun. Importing this package registers all of them with the metadata."""

from nordan_core.store.tables import control, data, jobs, law, places, proof, tenants

__all__ = ["control", "data", "jobs", "law", "places", "proof", "tenants"]
