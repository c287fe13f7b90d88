"""A region's content: blobs named by their SHA-256, manifests named by theirs.

Used by the supervisor (inputs, checkpoints, outputs) and the gateway (uploads, downloads). It knows bytes and
digests only; who may read or write what is decided before it is called.
"""
