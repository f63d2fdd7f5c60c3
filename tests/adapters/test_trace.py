"""The trace: every frame, one line each, without secrets, for its owner's eyes, and it does not grow for ever."""

from __future__ import annotations

import json
import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.adapters.connection import Connection, ConnectionLost, Endpoint
from contrib_watch.adapters.trace import Trace, redacted
from contrib_watch.ads.exchange import Outgoing
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.core.model import Action
from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.core import SimulatedAds
from contrib_watch.simulator.faults import FaultScript
from contrib_watch.simulator.server import SimulatedServer

LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([<>*]) (\S+) (.*)")
SECRET = "eyJ0eXAiOiJKV1Q.very-secret"


def lines(path: Path) -> list[tuple[str, str, str]]:
    """Direction, host and text of each line; fails where a line is anything else."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        found.append((match[2], match[3], match[4]))
    return found


def test_every_frame_of_a_connection_is_in_it(tmp_path: Path) -> None:
    form = PostFormat(service="S", address="127.0.0.1", user_id=1)
    ads = SimulatedAds(load_dictionary(Fields()), FaultScript())
    with SimulatedServer(ads) as server, Trace(tmp_path / "trace.txt") as trace:
        session = Session(Login(user="analyst", app_id="256"), Limits())
        here = Endpoint(host=server.host, port=server.port)
        connection = Connection([here], session, connect_timeout_s=10, trace=trace)
        texts = [form.text(n, f"R{n}", Action.REFRESH, '{"BID":22.1}') for n in range(1, 4)]
        connection.post([Outgoing(n, text) for n, text in enumerate(texts, 1)])
        connection.start()
        answered = 0
        while answered < 3:
            answered += len(connection.collect(15).answers)
        connection.close()
    told = lines(tmp_path / "trace.txt")
    assert {host for _, host, _ in told} == {server.address}
    assert (told[0][0], told[0][2], told[-1][0], told[-1][2]) == ("*", "connected", "*", "ended: stopped")
    sent = [text for mark, _, text in told if mark == ">"]
    assert '"Domain":"Login"' in sent[0]
    assert '"Position":"127.0.0.1"' in sent[0]  # the socket's own, where none is configured
    assert sent[1:4] == texts
    received = [json.loads(text) for mark, _, text in told if mark == "<"]
    assert [message["AckID"] for pack in received for message in pack if message["Type"] == "Ack"] == [1, 2, 3]


def test_an_attempt_that_fails_is_told(tmp_path: Path) -> None:
    session = Session(Login(user="analyst", app_id="256", position="127.0.0.1"), Limits())
    with Trace(tmp_path / "trace.txt") as trace:
        connection = Connection([Endpoint(host="127.0.0.1", port=1)], session, connect_timeout_s=5, trace=trace)
        connection.start()
        while not any(isinstance(event, ConnectionLost) for event in connection.collect(15).events):
            pass
        connection.close()
    assert ("*", "127.0.0.1:1", "not connected: Connection refused") in lines(tmp_path / "trace.txt")


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps({"ID": 1, "Key": {"Elements": {"AuthenticationToken": SECRET, "Position": "p"}}}),
        json.dumps({"Key": {"Elements": {"AuthenticationToken": SECRET}}}, indent=1),
        json.dumps({"access_token": SECRET, "refresh_token": SECRET, "expires_in": "300"}),
        json.dumps({"password": SECRET, "Client_Secret": SECRET, "client_assertion": SECRET}),
        json.dumps({"password": SECRET + '"' + SECRET + "\\"}),
        json.dumps({"Elements": {"AuthenticationExtendedResp": SECRET}}),
        json.dumps({"Type": "Error", "Debug": {"Message": json.dumps({"AuthenticationToken": SECRET})}}),
        json.dumps({"Type": "Error", "Debug": {"Message": json.dumps({"a": json.dumps({"xToken": SECRET})})}}),
        '{"Type":"Error","Debug":{"Message":"{"AuthenticationToken":"' + SECRET + '"}"}}',
        '{"Elements":{"AuthenticationToken":"' + SECRET,
        json.dumps({"Domain": "Login", "Key": {"Name": SECRET.ljust(80, "x")}}),
    ],
)
def test_no_secret_is_in_it(frame: str) -> None:
    assert "secret" not in redacted(frame).replace("Client_Secret", "")
    assert "***" in redacted(frame)


@pytest.mark.parametrize(
    "frame",
    [
        '{"ID":1,"Domain":"Login","Key":{"NameType":"AuthnToken","Elements":{"ApplicationId":"256"}}}',
        '{"ID":1,"Domain":"Login","Key":{"Name":"analyst","Elements":{"AuthenticationTTReissue":1493}}}',
        '{"ID":1,"Type":"Post","Key":{"Name":"TOKEN="},"Message":{"Fields":{"BID":1.5}}}',
    ],
)
def test_what_is_no_secret_stays(frame: str) -> None:
    assert redacted(frame) == frame


@given(st.text(), st.text(), st.sampled_from(["AuthenticationToken", "access_token", "my_password"]))
def test_any_secret_is_taken_out_and_the_rest_stays(secret: str, other: str, key: str) -> None:
    secret, other = f"(({secret}))", f"[[{other}]]"
    for frame in (
        json.dumps({"before": other, key: secret, "after": 1}),
        json.dumps({"before": other, key: secret, "after": 1}, ensure_ascii=False),
    ):
        if key not in other:
            assert json.loads(redacted(frame)) == {"before": other, key: "***", "after": 1}


def test_a_frame_stays_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    with Trace(path) as trace:
        trace.received("ads:1", b'[\r\n {"Text":"caf\xc3\xa9 \x1b[31m \xe2\x80\xa8"},\xff\n]')
    assert lines(path) == [("<", "ads:1", r'[\x0d\x0a {"Text":"café \x1b[31m \u2028"},\xff\x0a]')]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("")
    path.chmod(0o644)
    with Trace(path, max_bytes=100) as trace:
        for _ in range(5):
            trace.sent("ads:1", "x" * 50)
    modes = {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    assert modes == {0o600}


def test_it_rotates_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    with Trace(path, max_bytes=1000, kept_files=2) as trace:
        for number in range(200):
            trace.sent("ads:1", f"frame {number}")
    files = [path.with_name(name) for name in ("trace.txt.2", "trace.txt.1", "trace.txt")]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 1000 for file in files)
    numbers = [int(text.split()[1]) for file in files for _, _, text in lines(file)]
    assert numbers == list(range(numbers[0], 200))


def test_a_frame_larger_than_a_file_is_written_whole(tmp_path: Path) -> None:
    with Trace(tmp_path / "trace.txt", max_bytes=100) as trace:
        trace.sent("ads:1", "x" * 1000)
        trace.sent("ads:1", "y")
    assert len(lines(tmp_path / "trace.txt.1")[0][2]) == 1000


def test_it_goes_on_at_the_end_of_a_file(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with Trace(tmp_path / "trace.txt") as trace:
            trace.noted("ads:1", text)
    assert [text for _, _, text in lines(tmp_path / "trace.txt")] == ["first", "second"]


def test_lines_of_several_threads_are_whole(tmp_path: Path) -> None:
    with Trace(tmp_path / "trace.txt", max_bytes=20_000, kept_files=100) as trace:

        def write() -> None:
            for _ in range(200):
                trace.sent("ads:1", "x" * 500)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(len(lines(path)) for path in tmp_path.iterdir()) == 800


@pytest.mark.parametrize("where", ["no/such/folder/trace.txt", ".", "/dev/null"])
def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, where: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / where))):
        Trace(tmp_path / where)


def test_what_cannot_be_written_ends_the_trace_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "trace.txt.1").mkdir()  # no room for an older file
    with Trace(tmp_path / "trace.txt", max_bytes=100, kept_files=1) as trace:
        for text in ("first", "x" * 100, "third"):
            trace.sent("ads:1", text)
    assert [text for _, _, text in lines(tmp_path / "trace.txt")] == ["first"]
