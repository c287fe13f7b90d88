"""`python -m nordan_api`: serve the api of one control plane."""

from __future__ import annotations

import sys

import uvicorn

from nordan_api.context import build_context
from nordan_api.main import create_app
from nordan_core.domain.errors import NordanError
from nordan_core.logs import configure_logs
from nordan_core.settings import ApiSettings, DatabaseSettings, load_settings


def main() -> int:
    """Serve until SIGTERM."""
    configure_logs("api")
    try:
        settings = load_settings(ApiSettings)
        context = build_context(settings, load_settings(DatabaseSettings))
    except NordanError as error:
        sys.stderr.write(f"nordan api: {error}\n")
        return 1
    config = uvicorn.Config(
        create_app(context),
        host=settings.api_host,
        port=settings.api_port,
        # No access log: paths name tenants' projects, and identifiers are logged where something happens.
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    try:
        uvicorn.Server(config).run()
    except SystemExit as error:
        sys.stderr.write(f"nordan api: cannot listen on {config.host}:{config.port}\n")
        return int(error.code or 0)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
