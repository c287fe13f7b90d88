"""The gateway's process: settings, application, uvicorn without an access log."""

from __future__ import annotations

import sys

import structlog
import uvicorn

from nordan_core.clock import SystemClock
from nordan_core.domain.errors import OperatorError
from nordan_core.logs import configure_logs
from nordan_core.settings import RegionSettings, load_settings
from nordan_workers.api_client import WorkerApi
from nordan_workers.gateway.app import Region, gateway_app
from nordan_workers.joining import read_join_file

WS_MESSAGE_BYTES = 256 * 1024
WS_PING_S = 15.0
#: Followers of logs and slow replicas are cut off after this time at a stop.
STOP_S = 3


def main() -> int:
    """Serve until SIGTERM or SIGINT; 1 with a sentence on standard error when the set-up is at fault."""
    configure_logs("gateway")
    try:
        settings = load_settings(RegionSettings)
        joined = read_join_file(settings.join_file)
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    structlog.contextvars.bind_contextvars(region=joined.region)
    region = Region(settings.region_dir, joined, WorkerApi(joined), SystemClock(), settings.max_upload_bytes)
    config = uvicorn.Config(
        gateway_app(region),
        host=settings.gateway_host,
        port=settings.gateway_port,
        # Paths name tenants' files: there is no access log.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=30,
        # Messages of sessions; a client that does not answer is taken for gone.
        ws_max_size=WS_MESSAGE_BYTES,
        ws_ping_interval=WS_PING_S,
        ws_ping_timeout=WS_PING_S,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1
