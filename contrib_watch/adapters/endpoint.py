"""Where an ADS listens, and the WebSocket to it: by way of a proxy, over TLS, within a time, cut from any thread."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import websocket
from websocket import WebSocket

from contrib_watch.adapters.text_frames import bound
from contrib_watch.errors import ConfigurationError, LoginRefused, NoConnection

SUBPROTOCOL = "tr_json2"
PATH = "/WebSocket"
PARTIAL_FRAME_S = 10.0
"""How long the rest of a frame, or room to send, may take before the connection counts as dead."""
MOST_PROXY_BYTES = 16_384
"""How long the answer of a proxy may be."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an ADS listens, and how it proves who it is."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    proxy: str = ""
    """``http://host:port``; empty: none, whatever the environment says."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address of the WebSocket."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.tls else 'ws'}://{host}:{self.port}{PATH}"


class Line:
    """The socket of one connection, which another thread may cut: whatever waits for it then ends."""

    def __init__(self) -> None:
        self.cut_because = ""
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def hold(self, held: socket.socket) -> None:
        """This is the socket from now on. Raises ConnectionAbortedError where the line is cut already."""
        with self._lock:
            self._socket = held
            if self.cut_because:
                raise ConnectionAbortedError(self.cut_because)

    def cut(self, because: str) -> None:
        """End it, from any thread; does nothing to a socket that is closed."""
        with self._lock:
            self.cut_because = self.cut_because or because
            if self._socket is not None:
                with suppress(OSError):  # not connected, or closed already
                    # SSLSocket's own shutdown would let the other thread write one more frame in clear text.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """What checks certificates against these authorities, None: the system's.

    Raises ConfigurationError where the file is none of authorities.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        hint = "Name a PEM file of the authorities to trust"
        raise ConfigurationError("cannot be used as ads.ca_file", where=str(ca_file), hint=hint) from error
    return context


def own_ipv4(endpoint: Endpoint) -> str:
    """This machine's IPv4 address as the endpoint, or the proxy before it, sees it; nothing is sent."""
    proxy = urlsplit(endpoint.proxy)
    address = (proxy.hostname, proxy.port or 80) if proxy.hostname else (endpoint.host, endpoint.port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except (OSError, OverflowError):  # OverflowError: no such port; connecting to it will say so
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def open_websocket(endpoint: Endpoint, timeout_s: float, line: Line) -> WebSocket:
    """A WebSocket that speaks tr_json2; raises NoConnection, or LoginRefused for an untrusted certificate."""
    # A socket's timeout is for each read: a server that sends a byte now and then would hold it for ever.
    by_way_of = f" by way of the proxy {urlsplit(endpoint.proxy).netloc}" if endpoint.proxy else ""
    too_late = f"no WebSocket within {timeout_s:g} s{by_way_of}"
    overdue = threading.Timer(timeout_s, line.cut, [too_late])
    overdue.daemon = True
    overdue.start()
    try:
        return _shake_hands(endpoint, _secured(_reached(endpoint, timeout_s, line), endpoint, line))
    except ssl.SSLCertVerificationError as error:
        hint = "Set ads.ca_file to the authority that signed it, or connect to the name that it was issued for"
        raise LoginRefused(
            f"its certificate is not trusted: {error.verify_message.rstrip('.')}", where=str(endpoint), hint=hint
        ) from error
    except websocket.WebSocketBadStatusException as error:
        what = f"it answered HTTP {error.status_code} and not with a WebSocket"
        raise NoConnection(what, where=str(endpoint), hint="Is this the WebSocket port of an ADS?") from error
    except (TimeoutError, websocket.WebSocketTimeoutException) as error:
        raise NoConnection(too_late, where=str(endpoint)) from error
    except ConfigurationError as error:
        raise NoConnection(str(error), where=str(endpoint)) from error
    except (websocket.WebSocketException, OSError, UnicodeError, OverflowError) as error:
        # UnicodeError: no such host name can be; OverflowError: no such port
        what = line.cut_because or reason_of(error)
        raise NoConnection(what, where=str(endpoint)) from error
    finally:
        overdue.cancel()
        overdue.join()


def reason_of(error: Exception) -> str:
    """An error in words, without the system's number for it."""
    told = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
    if isinstance(error, websocket.WebSocketProtocolException):
        return f"what came is no WebSocket frame ({told})"
    if isinstance(error, websocket.WebSocketTimeoutException):
        return f"the rest of a frame did not come within {PARTIAL_FRAME_S:g} s"
    return told


def _reached(endpoint: Endpoint, timeout_s: float, line: Line) -> socket.socket:
    """A TCP connection to the endpoint, by way of its proxy where it has one."""
    if not endpoint.proxy:
        return _dial(endpoint.host, endpoint.port, timeout_s, line)
    proxy = urlsplit(endpoint.proxy)
    try:
        connected = _dial(proxy.hostname or "", proxy.port or 80, timeout_s, line)
    except (OSError, UnicodeError) as error:
        raise OSError(f"the proxy {proxy.netloc} cannot be reached: {reason_of(error)}") from error
    try:
        _tunnel(connected, endpoint, proxy.netloc)
    except BaseException:
        connected.close()
        raise
    return connected


def _tunnel(connected: socket.socket, endpoint: Endpoint, proxy: str) -> None:
    """Ask an HTTP proxy for the way through to the endpoint (RFC 9110, 9.3.6)."""
    authority = endpoint.url.partition("://")[2].removesuffix(PATH)
    connected.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
    answer = bytearray()
    while not answer.endswith(b"\r\n\r\n"):
        byte = connected.recv(1)  # what comes after the answer is the endpoint's
        if not byte or len(answer) > MOST_PROXY_BYTES:
            raise OSError(f"the proxy {proxy} gave no whole answer")
        answer += byte
    status = answer.partition(b"\r\n")[0].decode("latin-1")
    if not re.match(r"HTTP/1\.[01] 2\d\d(?: |$)", status):
        raise OSError(f"the proxy {proxy} leads not to {endpoint}: it answered {status!r}")


def _dial(host: str, port: int, timeout_s: float, line: Line) -> socket.socket:
    """A TCP connection to the first of the host's addresses that takes one; they share the time."""
    failed = OSError("the host has no address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found:
        candidate = socket.socket(family, kind, protocol)
        try:
            candidate.settimeout(timeout_s / len(found))
            candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.hold(candidate)
            candidate.connect(address)
        except OSError as error:
            candidate.close()
            failed = error
        else:
            candidate.settimeout(timeout_s)
            return candidate
    raise failed


def _secured(plain: socket.socket, endpoint: Endpoint, line: Line) -> socket.socket:
    """The same connection over TLS, where the endpoint asks for it; certificate and host name are checked."""
    if not endpoint.tls:
        return plain
    held = plain
    try:
        context = trusting(endpoint.ca_file)  # read each time: authorities are replaced while a daemon runs
        held = secured = context.wrap_socket(plain, server_hostname=endpoint.host, do_handshake_on_connect=False)
        line.hold(secured)
        secured.do_handshake()
    except BaseException:
        held.close()
        raise
    return secured


def _shake_hands(endpoint: Endpoint, connected: socket.socket) -> WebSocket:
    """The WebSocket on a connected socket, which is closed where there is none."""
    channel = WebSocket(skip_utf8_validation=True)  # 5 to 9 times faster; msgspec checks what it decodes
    bound(channel)
    channel.connect(  # type: ignore[no-untyped-call]
        endpoint.url,
        socket=connected,
        subprotocols=[SUBPROTOCOL],  # mandatory and case-sensitive: without it an ADS answers HTTP 400
        suppress_origin=True,
        redirect_limit=0,
    )
    channel.settimeout(PARTIAL_FRAME_S)
    return channel
