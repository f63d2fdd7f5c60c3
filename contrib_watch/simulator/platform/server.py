"""The simulated platform on 127.0.0.1: HTTPS for tokens and discovery, WebSockets over TLS for the endpoints."""

from __future__ import annotations

import json
import ssl
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import trustme

from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.platform.core import DISCOVERY, TOKEN_V1, TOKEN_V2, SimulatedPlatform
from contrib_watch.simulator.server import SimulatedServer

HOST = "127.0.0.1"
REGION = "simulated-1"
ZONES = ([f"{REGION}a", f"{REGION}b"], [f"{REGION}a"], [f"{REGION}b"])
"""The locations of the endpoints: a load-balanced one, and one in each availability zone."""
SERVED_WITHIN_S = 10.0
"""How long a client may take to say what it wants."""


class Certificates:
    """An authority made for the occasion, and what it has signed."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS, for these host names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context

    def write(self, path: Path) -> Path:
        """The authority's certificate as the PEM file that ``ads.ca_file`` takes."""
        self._authority.cert_pem.write_to_path(path)
        return path


class PlatformServer:
    """Serves a SimulatedPlatform, and a SimulatedAds at three endpoints that take its tokens; a context manager."""

    def __init__(
        self,
        platform: SimulatedPlatform,
        ads: SimulatedAds,
        certificates: Certificates,
        *,
        names: tuple[str, ...] = (HOST,),
        port: int = 0,
    ) -> None:
        """``names``: whom the certificate is for. ``port``: of HTTPS; the endpoints have the next ones. 0: any."""
        self.platform = platform
        self._lock = threading.RLock()  # of the platform and the ADS, which all servers share
        context = certificates.context(*names)
        ads.gate = platform
        ports = [port and port + number for number in range(1, len(ZONES) + 1)]
        self.endpoints = [SimulatedServer(ads, HOST, each, context, lock=self._lock) for each in ports]
        self._https = _Https((HOST, port), platform, self._lock, context)
        self._thread = threading.Thread(target=self._https.serve_forever, args=(0.05,), name="simulated-platform")
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """``https://127.0.0.1:port``."""
        return f"https://{HOST}:{self._https.server_address[1]}"

    @property
    def token_url_v1(self) -> str:
        """What ``cloud.token_url`` takes for the grant ``password``."""
        return self.url + TOKEN_V1

    @property
    def token_url_v2(self) -> str:
        """The same for the other grants."""
        return self.url + TOKEN_V2

    @property
    def discovery_url(self) -> str:
        """What ``cloud.discovery_url`` takes."""
        return self.url + DISCOVERY

    def __enter__(self) -> Self:
        for endpoint in self.endpoints:
            self._running.enter_context(endpoint)
        self.announce(*self.endpoints)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._https.shutdown()
        self._thread.join()
        self._https.server_close()
        self._running.close()

    def announce(self, *endpoints: SimulatedServer) -> None:
        """What discovery names from now on."""
        with self._lock:
            self.platform.services = [
                {
                    "endpoint": HOST,
                    "port": endpoint.port,
                    "location": ZONES[self.endpoints.index(endpoint)],
                    "provider": "simulated",
                    "transport": "websocket",
                    "dataFormat": ["tr_json2"],
                }
                for endpoint in endpoints
            ]


class _Https(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for what is being answered
    block_on_close = True

    def __init__(
        self, address: tuple[str, int], platform: SimulatedPlatform, lock: threading.RLock, context: ssl.SSLContext
    ) -> None:
        super().__init__(address, _Handler)
        self.platform = platform
        self.lock = lock
        self.context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the client's own thread: shake hands, then answer."""
        request.settimeout(SERVED_WITHIN_S)
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError:
            return  # the client does not trust the certificate, or went away


class _Handler(BaseHTTPRequestHandler):
    server: _Https

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(dict(parse_qsl(body.decode(), keep_blank_values=True)))

    def _answer(self, form: dict[str, str]) -> None:
        parts = urlsplit(self.path)
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.server.lock:
            reply = self.server.platform.reply(
                self.command, parts.path, dict(parse_qsl(parts.query)), form, bearer, time.monotonic()
            )
        body = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        """Nothing on stderr: requests hold secrets."""
