"""A region's gateway: the one door for content. Uploads, artifacts, logs and inference traffic, each with a token.

One asynchronous process. It decides nothing about who may do what: the control plane signed that into the token,
and the fence list takes it back. It logs ids, never paths, names or bytes of a tenant.
"""
