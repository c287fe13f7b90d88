"""Bytes go out: manifests and the files that they name. A path is looked up in the manifest, never on the disk."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nordan_core.wire import ManifestMessage
from nordan_workers.gateway.access import Doorkeeper
from nordan_workers.gateway.problems import Problem
from nordan_workers.gateway.ranges import file_response
from nordan_workers.store.region_store import RegionStore


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The routes for artifacts, over what they need."""

    doorkeeper: Doorkeeper
    store: RegionStore

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/manifests/{digest}", self.manifest),
            Route("/v1/manifests/{digest}/files/{path:path}", self.file),
        ]

    def manifest(self, request: Request) -> Response:
        """Answer with the files of an artifact."""
        digest = request.path_params["digest"]
        self.doorkeeper.admit(request, "read", f"manifest:{digest}")
        if _is_known(request, digest):
            return Response(status_code=304, headers={"ETag": _etag(digest)})
        files = ManifestMessage.of(self.store.manifest(digest)).model_dump(mode="json")["files"]
        headers = {"ETag": _etag(digest), "Cache-Control": "private, no-store"}
        return JSONResponse({"digest": digest, "files": files}, headers=headers)

    def file(self, request: Request) -> Response:
        """Answer with the bytes of one file, or a range of them."""
        digest = request.path_params["digest"]
        claims = self.doorkeeper.admit(request, "read", f"manifest:{digest}")
        path = request.path_params["path"]
        entry = next((one for one in self.store.manifest(digest).files if one.path == path), None)
        if entry is None:
            raise Problem(404, "not_found", "the artifact has no such file")
        if _is_known(request, entry.digest):
            return Response(status_code=304, headers={"ETag": _etag(entry.digest)})
        blob = self.store.path(entry.digest)
        headers = {"ETag": _etag(entry.digest)}
        try:
            return file_response(
                request,
                blob,
                media_type="application/octet-stream",
                headers=headers,
                may_go_on=lambda: not self.doorkeeper.is_fenced(claims),
            )
        except FileNotFoundError as error:
            raise Problem(404, "not_found", "this region no longer holds the file's bytes") from error


def _etag(digest: str) -> str:
    return f'"{digest}"'


def _is_known(request: Request, digest: str) -> bool:
    known = request.headers.get("If-None-Match", "")
    return known == "*" or _etag(digest) in [one.strip().removeprefix("W/") for one in known.split(",")]
