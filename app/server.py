"""The process: a socket, uvicorn with bounded connections, signals, and an end with status 0.

On SIGTERM or SIGINT the service turns unready, goes on for ``drain_s`` so that a load balancer
notices, closes the port, lets the requests in flight end, closes the store and exits with 0.
"""

import contextlib
import errno
import logging
import os
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from app.api.state import Service
from app.errors import InvalidInputError
from app.main import create_app
from app.protocol import Bounds, bounded_protocol
from app.settings import Settings
from app.telemetry import log

_LISTENING = "0A"


class Server(uvicorn.Server):
    """uvicorn's server, with a phase of being unready before the port closes."""

    def __init__(self, config: uvicorn.Config, service: Service, drain_s: float) -> None:
        super().__init__(config)
        self._service = service
        self._drain_s = drain_s
        self._exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal; a second one ends the waiting."""
        # Unlike uvicorn, the signal is not kept to be raised again: ending as asked is success.
        self._service.drain()
        if self._exit_at is None:
            self._exit_at = time.monotonic() + self._drain_s
        elif self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self._exit_at = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Leave the main loop once drained."""
        if self._exit_at is not None and time.monotonic() >= self._exit_at:
            self.should_exit = True
            self._service.stopping.set()  # probes end with what they have found
        return await super().on_tick(counter)


def serve(settings: Settings) -> None:
    """Run the service in the foreground until a signal ends it.

    Raises:
        InvalidInputError: If the address cannot be listened on.
        SystemExit: If the service cannot start.
    """
    with contextlib.closing(bind(settings.host, settings.port)) as listener:
        app = create_app(settings)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        app.state.service.url = f"http://{shown}:{port}"
        build_server(app, settings).run(sockets=[listener])
    log(logging.INFO, "ended")


def build_server(app: Any, settings: Settings) -> Server:
    """Put an application of ``create_app`` behind the bounded protocol."""
    service: Service = app.state.service

    def count(status: int) -> None:
        service.metrics.requests.labels("other", "unread", str(status)).inc()

    bounds = Bounds(
        settings.header_timeout_s,
        settings.body_timeout_s,
        settings.max_header_bytes,
        settings.max_connections,
        count,
    )
    config = uvicorn.Config(
        app,
        http=bounded_protocol(bounds),
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.idle_timeout_s,  # pyright: ignore[reportArgumentType]
        timeout_graceful_shutdown=settings.shutdown_s,  # pyright: ignore[reportArgumentType]
    )
    return Server(config, service, settings.drain_s)


def bind(host: str, port: int) -> socket.socket:
    """Take an address before anything slow is done.

    Raises:
        InvalidInputError: If it is unknown, not ours or taken; the message names the holder.
    """
    listener: socket.socket | None = None
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two sockets may be bound to one address; only listening settles whose it is.
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            holder = port_holder(port) or "another process"
            raise InvalidInputError(
                f"Port {port} of {host} is taken by {holder}; stop it or set TYNTEGRA_PORT to "
                "another port."
            ) from None
        raise InvalidInputError(
            f"Cannot listen on {host} port {port} ({error.strerror or error}); set TYNTEGRA_HOST "
            "and TYNTEGRA_PORT to an address of this machine."
        ) from None
    return listener


def port_holder(port: int) -> str | None:
    """Name the process that listens on a TCP port, as far as this user may see it (Linux)."""
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) in inodes:
                process = descriptor.parts[2]
                name = Path("/proc", process, "comm").read_text().strip()
                return f"process {process} ({name})"
    return None
