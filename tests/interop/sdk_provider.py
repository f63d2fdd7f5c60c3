"""A provider on LSEG's Real-Time SDK for Java in a process of its own, and a client that sends it raw frames."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import websocket
from filelock import FileLock

SOURCE = Path(__file__).with_name("provider")
BUILD = SOURCE / "build"
SERVICE = "NIPROV"
FIRST_BUILD_S = 240
"""Maven Central may have to be asked for the SDK and for Maven's own plug-ins."""
OFFLINE_BUILD_S = 60
START_S = 60
DEADLINE_S = 40
"""How long a test waits for anything; never waited out where all is well."""
LOGINS = 3
"""How often a raw client tries: the SDK has been seen, once in many thousands, to leave the first one unanswered."""
LOGIN = '{"ID":1,"Domain":"Login","Key":{"Name":"raw","Elements":{"ApplicationId":"256","Position":"127.0.0.1"}}}'


MORE_FIELDS = """
NET_INT    "NET INT"          12001  NULL        INTEGER        15      INT64           8
NAME_U     "NAME U"           12002  NULL        ALPHANUMERIC   20      UTF8_STRING    20
"""
"""Of the types that the built-in dictionary has no field of."""


def dictionary_texts(more_fields: str = MORE_FIELDS) -> tuple[str, str]:
    """The product's own RDMFieldDictionary with a few fields more, and its enumtype.def."""
    data = resources.files("contrib_watch") / "data"
    fields, enums = ((data / name).read_text(encoding="utf-8") for name in ("RDMFieldDictionary", "enumtype.def"))
    return fields + more_fields, enums


class Unavailable(Exception):  # noqa: N818 - the reason of a skip
    """The provider cannot be built on this machine, and why."""


def build() -> str:
    """Compiles the provider where that is not done already; its class path.

    Raises Unavailable without a JDK, Maven, or Maven Central at the first time.
    """
    for tool in ("javac", "java", "mvn"):
        if shutil.which(tool) is None:
            raise Unavailable(
                f"{tool} is not installed: the provider on LSEG's SDK needs a JDK (17 or later) and Maven"
            )
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "lock"):
        stamp, digest = BUILD / "built", _digest()
        if not stamp.exists() or stamp.read_text() != digest:
            _maven()
            stamp.write_text(digest)
        return f"{BUILD / 'classes'}:{(BUILD / 'classpath.txt').read_text().strip()}"


def _digest() -> str:
    sources = [SOURCE / "pom.xml", *sorted(SOURCE.glob("src/**/*.java"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _maven() -> None:
    """Compiles with what is on this machine, else with Maven Central's help."""
    said = ""
    for mode, limit_s in (["--offline"], OFFLINE_BUILD_S), ([], FIRST_BUILD_S):
        line = ["mvn", "-q", "-B", *mode, "compile", "dependency:build-classpath"]
        try:
            done = subprocess.run(line, cwd=SOURCE, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            said = f"mvn took more than {limit_s} s"
            continue
        if done.returncode == 0:
            return
        said = next((line[line.index("[ERROR]") :] for line in done.stdout.splitlines() if "[ERROR]" in line), "")
        if "COMPILATION ERROR" in done.stdout:
            raise AssertionError(done.stdout)
    raise Unavailable(f"Maven cannot build the provider, nor get what it needs from Maven Central: {said}")


class Provider:
    """The provider's process: what it decoded, and commands to it. See Provider.java for the events it writes."""

    def __init__(self, classpath: str, home: Path, port: int = 0) -> None:
        self.stderr = home / "stderr.txt"
        for path, text in zip((home / "RDMFieldDictionary", home / "enumtype.def"), dictionary_texts(), strict=True):
            path.write_text(text, encoding="utf-8")
        # Quick to start matters here, speed later does not.
        java = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx768m", "-cp", classpath, "Provider"]
        with self.stderr.open("w") as stderr:
            self._process = subprocess.Popen(
                [*java, str(SOURCE / "EmaConfig.xml"), str(port)],
                cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, encoding="utf-8",
            )  # fmt: skip
        self._changed = threading.Condition()
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port: int = self.event(lambda event: event["event"] == "ready", START_S)["port"]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[dict[str, Any]]:
        """All posts decoded so far."""
        self._catch_up()
        with self._changed:
            return [event for event in self._events if event["event"] == "post"]

    @property
    def refusals(self) -> int:
        """How many messages the SDK could not convert so far."""
        self._catch_up()
        with self._changed:
            return sum(event["event"] == "refused" for event in self._events)

    def post(self, post_id: int, ric: str) -> dict[str, Any]:
        """Waits for a post."""
        return self.event(lambda seen: seen.get("post_id") == post_id and seen.get("ric") == ric)

    def posts_of(self, rics: list[str]) -> list[dict[str, Any]]:
        """The posts so far to these RICs."""
        return [post for post in self.posts if post["ric"] in rics]

    def event(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Waits for an event; the newest that fits."""
        found: list[dict[str, Any]] = []

        def seen() -> bool:
            found[:] = [event for event in self._events if wanted(event)]
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(seen, timeout_s)
        assert found, f"the provider never said so; it wrote: {self.stderr.read_text()[-3000:]}"
        return found[-1]

    def tell(self, command: str) -> None:
        """Has a command carried out: forget, disconnect, logout TEXT, nak CODE RIC TEXT, sync."""
        assert self._process.stdin is not None
        with self._changed:
            before = len(self._events)
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        with self._changed:
            carried_out = self._changed.wait_for(
                lambda: any(event.get("command") == command for event in self._events[before:]), DEADLINE_S
            )
        assert carried_out, command

    def close(self) -> None:
        """Ends the process in good order, or else by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join(DEADLINE_S)
        self._process.stdout.close()

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def _catch_up(self) -> None:
        """What the provider has written by now has been read, too."""
        if self._process.poll() is None:
            self.tell("sync")
        else:
            self._reader.join(DEADLINE_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class RawClient:
    """A connection that sends exactly the text it is given. Pings are answered and counted."""

    def __init__(self, port: int, *, login: bool = True) -> None:
        self.pings = 0
        self.close_code: int | None = None
        """Once the connection has ended: the code of its close frame, 0 where there was none."""
        self._waiting: list[dict[str, Any]] = []
        self._connect(port)
        if login:
            self._log_in(port)

    def _connect(self, port: int) -> None:
        self._channel = websocket.WebSocket()
        self._channel.connect(f"ws://127.0.0.1:{port}/WebSocket", subprotocols=["tr_json2"], timeout=DEADLINE_S)

    def _log_in(self, port: int) -> None:
        for _ in range(LOGINS):
            if answers := self.ask(LOGIN):
                assert [answer["State"]["Stream"] for answer in answers] == ["Open"], answers
                self.close_code = None
                return
            self.close()
            self._connect(port)
        self.close()
        raise AssertionError(f"no login of {LOGINS} was answered; close code {self.close_code}")

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, text: str) -> None:
        self._channel.send(text)

    def ask(self, text: str, answers: int = 1) -> list[dict[str, Any]]:
        """Sends a frame and waits for so many messages; fewer where the connection ends before."""
        self.send(text)
        return [message for _ in range(answers) if (message := self.next()) is not None]

    def all_before_pong(self, text: str) -> list[dict[str, Any]]:
        """Sends a frame and a Ping; everything that comes before the Pong."""
        self.send(text)
        with suppress(OSError, websocket.WebSocketException):  # it may be closed already
            self.send('{"Type":"Ping"}')
        return list(iter(lambda: self.next(until="Pong"), None))

    def next(self, until: str = "", timeout_s: float = DEADLINE_S) -> dict[str, Any] | None:
        """The next message that is no Ping; None where the connection ends, or at a message of Type ``until``."""
        until_s = time.monotonic() + timeout_s  # Pings alone would keep it waiting for ever
        while not self._waiting:
            if time.monotonic() > until_s or not self._receive():
                return None
        message = self._waiting.pop(0)
        if message["Type"] == "Ping":
            self.pings += 1
            self.send('{"Type":"Pong"}')
            return self.next(until, until_s - time.monotonic())
        return None if message["Type"] == until else message

    def listen_only(self) -> None:
        """Takes one message without ever answering a Ping."""
        self._receive()
        self._waiting.clear()

    def websocket_ping(self, payload: bytes) -> None:
        """A Ping of the WebSocket layer, which the product never sends."""
        self._channel.ping(payload)

    def close(self) -> None:
        self._channel.shutdown()

    def _receive(self) -> bool:
        try:
            opcode, data = self._channel.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return False
        except (OSError, websocket.WebSocketException):
            self.close_code = 0
            return False
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close_code = int.from_bytes(data[:2])
            return False
        if opcode == websocket.ABNF.OPCODE_TEXT:
            self._waiting += json.loads(data)
        return True


def post(
    fields: str,
    *,
    kind: str = "Refresh",
    post_id: int | str = 7,
    ric: str = "RAW.TST",
    key: str | None = None,
    top: str = "",
    start: str = '"ID":1,"Type":"Post"',
    inner: str = '"ID":0',
) -> str:
    """A post as text; ``fields``, ``key``, ``top``, ``start`` and ``inner`` (members) are JSON."""
    key = f'{{"Service":"{SERVICE}","Name":"{ric}"}}' if key is None else key
    return (
        f'{{{start},"Domain":"MarketPrice","Ack":true,"PostID":{post_id},"Key":{key},{top}'
        f'"Message":{{{inner},"Type":"{kind}","Domain":"MarketPrice","Fields":{fields}}}}}'
    )


def eventually(true: Callable[[], object], what: str) -> None:
    """Waits until something is true; fails after the deadline."""
    until_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < until_s, f"waited {DEADLINE_S} s in vain until {what}"
        time.sleep(0.02)
