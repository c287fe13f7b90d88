"""The control plane's front: REST for tenants and operators, the worker API for regions."""
