"""Logins, posts, packs, reading and pings as LSEG's SDK for Java answers them, beside the simulated ADS.

``SDK``, below, is the provider on LSEG's SDK for Java. Where it differs from the simulated ADS, which follows LSEG's
C++ code and what an ADS sends, the test's name or a comment says so.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import websocket
from sdk_provider import DEADLINE_S, LOGIN, Provider, RawClient, post

from contrib_watch.simulator.server import SimulatedServer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]  # the first build asks Maven Central


@pytest.fixture(params=["sdk", "simulated"])
def port(request: pytest.FixtureRequest) -> int:
    """Of either server: what is tested with it is alike."""
    name = "provider" if request.param == "sdk" else "simulated"
    server: Provider | SimulatedServer = request.getfixturevalue(name)
    return server.port


def asked(port: int, text: str, *, login: bool = True) -> list[dict[str, Any]]:
    """All that a frame is answered with, on a connection of its own."""
    with RawClient(port, login=login) as client:
        answers = client.all_before_pong(text)
        assert client.close_code is None
        return answers


def pack(*posts: str) -> str:
    return "[" + ",".join(posts) + "]"


# Connecting and logging in.


@pytest.mark.parametrize("subprotocols", [[], ["tr_json3"]])
def test_without_its_subprotocol_there_is_no_websocket(port: int, subprotocols: list[str]) -> None:
    assert handshake(port, "/WebSocket", subprotocols) == 400


def test_at_a_wrong_path_the_sdk_closes_without_a_word(provider: Provider, simulated: SimulatedServer) -> None:
    answers = [handshake(server.port, "/wrong", ["tr_json2"]) for server in (provider, simulated)]
    assert answers == [0, 400]


def test_a_subprotocol_in_capitals_is_good_enough_for_the_sdk_alone(
    provider: Provider, simulated: SimulatedServer
) -> None:
    answers = [handshake(server.port, "/WebSocket", ["TR_JSON2"]) for server in (provider, simulated)]
    assert answers == [101, 400]


def handshake(port: int, path: str, subprotocols: list[str]) -> int:
    """The HTTP status that a WebSocket's handshake gets; 0 for none."""
    channel = websocket.WebSocket()
    try:
        channel.connect(f"ws://127.0.0.1:{port}{path}", subprotocols=subprotocols, timeout=DEADLINE_S)
    except websocket.WebSocketBadStatusException as refused:
        return int(refused.status_code)
    except websocket.WebSocketConnectionClosedException:
        return 0
    finally:
        channel.shutdown()
    return 101


def test_a_login_announces_its_limits(port: int) -> None:
    (answer,) = asked(port, LOGIN, login=False)
    assert answer["Domain"] == "Login"
    assert answer["Elements"]["MaxMsgSize"] == 61_430
    assert answer["Elements"]["PingTimeout"] > 0
    assert answer["Key"]["Elements"]["SupportOMMPost"] == 1


def test_a_refused_login_says_why_and_closes_with_1000(port: int) -> None:
    # The SDK closes the connection by itself, and sometimes before the Status has left.
    for _ in range(10):
        with RawClient(port, login=False) as client:
            answers = client.ask(LOGIN.replace("raw", "nobody"))
            assert client.next() is None
            assert client.close_code == 1000
        if answers:
            break
    (answer,) = answers
    assert answer["Type"] == "Status"
    state = answer["State"]
    assert (state["Stream"], state["Data"], state["Code"]) == ("Closed", "Suspect", "UserUnknownToPermSys")
    assert "nobody" in state["Text"]


@pytest.mark.parametrize("text", [post('{"BID":1}'), '{"ID":5,"Key":{"Name":"X"}}'])
def test_nothing_before_the_login(port: int, text: str) -> None:
    (answer,) = asked(port, text, login=False)
    assert answer["Type"] == "Status"
    assert (answer["State"]["Stream"], answer["State"]["Code"]) == ("ClosedRecover", "UsageError")


def test_a_new_token_on_an_open_login_stream_gets_no_answer(port: int) -> None:
    assert asked(port, LOGIN[:-1] + ',"Refresh":false}') == []


# What a post needs.


@pytest.mark.parametrize(
    "text",
    [
        post('{"BID":1}', key='{"Service":1,"Name":"BY.ID"}'),
        post('{"BID":1}', key='{"Name":"BY.DEFAULT"}'),  # the default service, silently
        post('{"BID":1}', ric="A" * 255),
        post('{"BID":1}', top='"PostUserInfo":{"Address":"10.1.2.3","UserID":5},'),
        post('{"BID":1}', top='"PostUserInfo":{"Address":167838211,"UserID":5},'),
        post('{"BID":1}', top='"SeqNum":5,'),
        post("{}"),
    ],
)
def test_acknowledged(port: int, text: str) -> None:
    (answer,) = asked(port, text)
    assert (answer["Type"], answer["AckID"]) == ("Ack", 7)
    assert "NakCode" not in answer


@pytest.mark.parametrize(
    "text",
    [
        post('{"BID":1}', key='{"Service":"NOPE","Name":"A"}'),
        post('{"BID":1}', ric="A" * 256),
        post('{"BID":1}', post_id='"7"'),
        post('{"BID":1}', post_id="1.5"),
        post('{"BID":1}', top='"PostUserInfo":{"Address":"host","UserID":5},'),
        post('{"BID":1}', top='"PostUserInfo":{"Address":"::1","UserID":5},'),
        post('{"BID":1}', top='"PostUserInfo":{"Address":"10.1.2.3/net","UserID":5},'),
        post('{"BID":1}', top='"PostUserInfo":{"Address":"10.1.2.3"},'),
        post('{"BID":1}', top='"PostUserInfo":{"UserID":5},'),
        post('{"BID":1}', inner='"X":0'),
        post('{"BID":1}').replace('"Type":"Refresh",', ""),
        post('{"BID":1,"NOSUCHFLD":1}'),
    ],
)
def test_refused_by_an_error_of_which_the_sdk_sends_nothing(
    provider: Provider, simulated: SimulatedServer, text: str
) -> None:
    before = provider.refusals
    assert asked(provider.port, text) == []
    assert provider.refusals == before + 1
    (answer,) = asked(simulated.port, text)
    assert answer["Type"] == "Error"
    assert "AckID" not in answer


def test_posts_that_are_lost_without_a_word_on_both(port: int) -> None:
    assert asked(port, post('{"BID":1}', start='"ID":77,"Type":"Post"')) == []  # no such stream
    assert asked(port, post('{"BID":1}').replace('"Ack":true,', "")) == []  # applied, but no Ack was asked for


def test_a_post_without_its_type_is_an_item_request_to_the_sdk(
    provider: Provider, simulated: SimulatedServer
) -> None:
    asked(provider.port, post('{"BID":1}', ric="TYPELESS"))
    (answer,) = asked(provider.port, post('{"BID":2}', ric="TYPELESS", start='"ID":1'))
    assert answer["Type"] == "Refresh"
    assert answer["Fields"] == {"BID": 1}
    assert asked(simulated.port, post('{"BID":2}', start='"ID":1')) == []


@pytest.mark.parametrize(("post_id", "ack_id"), [(0, 0), (2**32 - 1, 2**32 - 1), (2**32, 0)])
def test_post_ids_are_32_bits(port: int, post_id: int, ack_id: int) -> None:
    (answer,) = asked(port, post('{"BID":1}', post_id=post_id))
    assert answer["AckID"] == ack_id


def test_a_sequence_number_comes_back(port: int) -> None:
    (answer,) = asked(port, post('{"BID":1}', top='"SeqNumber":5,'))
    assert answer["SeqNumber"] == 5


def test_the_sdk_names_the_service_by_its_id(provider: Provider, simulated: SimulatedServer) -> None:
    keys = [asked(server.port, post('{"BID":1}'))[0]["Key"] for server in (provider, simulated)]
    assert keys == [{"Service": 1, "Name": "RAW.TST"}, {"Service": "NIPROV", "Name": "RAW.TST"}]


def test_escapes_in_a_ric_are_resolved_by_the_sdk_alone(provider: Provider, simulated: SimulatedServer) -> None:
    text = post('{"BID":1}', ric=r"A\"B\\C")
    keys = [asked(server.port, text)[0]["Key"]["Name"] for server in (provider, simulated)]
    assert keys == ['A"B\\C', r"A\"B\\C"]


def test_an_update_of_an_unknown_item(port: int) -> None:
    (answer,) = asked(port, post('{"BID":1}', kind="Update", ric="UNKNOWN.TO.IT"))
    assert answer["NakCode"] == "SymbolUnknown"
    assert answer["Text"] == "F44: Unable to find item on post update."


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "AccessDenied"), (2, "DeniedBySrc"), (3, "SourceDown"), (4, "SourceUnknown"), (5, "NoResources"),
     (6, "NoResponse"), (7, "GatewayDown"), (10, "SymbolUnknown"), (11, "NotOpen"), (12, "InvalidContent"),
     (132, 132)],
)  # fmt: skip
def test_how_the_sdk_writes_nak_codes(provider: Provider, number: int, name: str | int) -> None:
    provider.tell(f"nak {number} NAK{number} refused on purpose")
    (answer,) = asked(provider.port, post('{"BID":1}', ric=f"NAK{number}"))
    assert answer["NakCode"] == name
    assert answer["Text"] == "refused on purpose"


# JSON.


@pytest.mark.parametrize("value", ["NaN", "Infinity", ".5", "+1", "1}"])
def test_what_is_no_json_closes_the_connection_with_1000(port: int, value: str) -> None:
    with RawClient(port) as client:
        client.send(pack(post('{"BID":1}', ric="BEFORE"), post(f'{{"BID":{value}}}')))
        assert client.next() is None
        assert client.close_code == 1000


def test_a_byte_order_mark_is_overlooked_by_the_sdk_alone(provider: Provider, simulated: SimulatedServer) -> None:
    text = "\ufeff" + post('{"BID":1}')
    assert asked(provider.port, text)[0]["Type"] == "Ack"
    with RawClient(simulated.port) as client:
        client.send(text)
        assert client.next() is None
        assert client.close_code == 1000


# Packs.


def test_a_pack_is_answered_post_by_post(port: int) -> None:
    posts = [post('{"BID":1}', post_id=number, ric=f"PACK{number}") for number in range(1, 101)]
    assert [answer["AckID"] for answer in asked(port, pack(*posts))] == list(range(1, 101))


def test_behind_a_bad_post_a_pack_is_lost(provider: Provider, simulated: SimulatedServer) -> None:
    posts = [post('{"BID":1}', post_id=number, ric=f"LOST{number}") for number in range(1, 5)]
    posts[1] = post('{"NOSUCHFLD":1}', post_id=2, ric="LOST2")
    assert [answer["Type"] for answer in asked(provider.port, pack(*posts))] == ["Ack"]  # and no Error
    assert [seen["ric"] for seen in provider.posts if seen["ric"].startswith("LOST")] == ["LOST1"]
    ack, error = asked(simulated.port, pack(*posts))
    assert (ack["AckID"], error["Type"]) == (1, "Error")


def test_a_message_above_64_kb_is_dropped_by_the_sdk(provider: Provider) -> None:
    with RawClient(provider.port) as client:
        large = post('{"DSPLY_NAME":"' + "x" * 66_000 + '"}')
        assert client.all_before_pong(large) == []
        (answer,) = client.ask(post('{"DSPLY_NAME":"' + "x" * 60_000 + '"}'))
        assert answer["Type"] == "Ack"


# Reading.


def test_an_item_is_read_back_and_followed(port: int) -> None:
    with RawClient(port) as poster, RawClient(port) as reader:
        poster.ask(post('{"BID":22.1,"ASK":24.5,"DSPLY_NAME":"ACME","QUOTIM":"16:30:05"}', ric="READ"))
        (image,) = reader.ask('{"ID":5,"Key":{"Service":"NIPROV","Name":"READ"}}')
        assert image["State"]["Stream"] == "Open"
        assert image["Fields"] == {"BID": 22.1, "ASK": 24.5, "DSPLY_NAME": "ACME", "QUOTIM": "16:30:05"}
        poster.ask(post('{"BID":22.3}', ric="READ", kind="Update"))
        update = reader.next()
        assert update is not None
        assert (update["Type"], update["ID"], update["Fields"]) == ("Update", 5, {"BID": 22.3})
        poster.ask(post('{"BID":22.4}', ric="READ"))
        image = reader.next() or {}
        assert (image["Type"], image["Fields"]) == ("Refresh", {"BID": 22.4})  # the rest is cleared
        (last,) = poster.ask('{"ID":9,"Key":{"Service":"NIPROV","Name":"READ"},"Streaming":false}')
        assert last["State"]["Stream"] == "NonStreaming"
        assert last["Fields"] == {"BID": 22.4}


def test_a_view_has_the_fields_asked_for(port: int) -> None:
    with RawClient(port) as client:
        client.ask(post('{"BID":22.1,"ASK":24.5}', ric="VIEW"))
        (image,) = client.ask('{"ID":5,"Key":{"Name":"VIEW"},"View":["ASK","HIGH_1"],"Streaming":false}')
        assert image["Fields"] == {"ASK": 24.5}


def test_the_sdk_serves_enumerations_by_number(provider: Provider, simulated: SimulatedServer) -> None:
    """Unless JsonExpandedEnumFields is set there."""
    served = []
    for server in (provider, simulated):
        with RawClient(server.port) as client:
            client.ask(post('{"CURRENCY":"USD"}', ric="ENUM"))
            (image,) = client.ask('{"ID":5,"Key":{"Name":"ENUM"},"Streaming":false}')
            served.append(image["Fields"]["CURRENCY"])
    assert served == [840, "USD"]


def test_null_is_read_back_as_null(port: int) -> None:
    with RawClient(port) as client:
        client.ask(
            post('{"BID":null,"CURRENCY":null,"DSPLY_NAME":null,"TRADE_DATE":null,"QUOTIM":null}', ric="NULLS")
        )
        (image,) = client.ask('{"ID":5,"Key":{"Name":"NULLS"},"Streaming":false}')
        assert set(image["Fields"].values()) == {None}
        assert len(image["Fields"]) == 5


def test_an_item_that_is_not_there(port: int) -> None:
    (answer,) = asked(port, '{"ID":5,"Key":{"Service":"NIPROV","Name":"NOT.THERE"}}')
    assert (answer["Type"], answer["ID"], answer["State"]["Stream"]) == ("Status", 5, "Closed")
    assert answer["State"]["Code"] == "NotFound"


def test_on_stream_posts_need_no_key(port: int) -> None:
    with RawClient(port) as client:
        client.ask(post('{"BID":1}', ric="ON.STREAM"))
        client.ask('{"ID":5,"Key":{"Service":"NIPROV","Name":"ON.STREAM"}}')
        text = post('{"BID":2}', kind="Update", start='"ID":5,"Type":"Post"', key="{}").replace('"Key":{},', "")
        answers = client.ask(text, 2)
        assert {answer["Type"] for answer in answers} == {"Ack", "Update"}
        assert {answer["ID"] for answer in answers} == {5}


def test_a_batch_is_beyond_the_sdk(provider: Provider, simulated: SimulatedServer) -> None:
    """It has to be the provider's own work there; its login therefore announces no SupportBatchRequests."""
    text = '{"ID":5,"Key":{"Service":"NIPROV","Name":["B1","B2"]}}'
    with RawClient(provider.port, login=False) as client:
        (login,) = client.ask(LOGIN)
        assert "SupportBatchRequests" not in login["Key"]["Elements"]
        assert client.all_before_pong(text) == []
    assert [answer["ID"] for answer in asked(simulated.port, text)] == [5, 6, 7]


# The connection.


def test_the_sdk_pings_every_third_of_its_timeout_and_ends_who_is_silent(provider: Provider) -> None:
    with RawClient(provider.port) as client:
        started_s = time.monotonic()
        assert client.next(timeout_s=2.2) is None
        assert client.pings >= 2
        assert client.close_code is None
        while client.close_code is None and time.monotonic() < started_s + 15:
            client.listen_only()
        assert client.close_code is not None


def test_a_websocket_ping_with_a_payload(provider: Provider, simulated: SimulatedServer) -> None:
    """Ends a session with the simulated ADS, as with a provider on LSEG's C++ code; the SDK for Java bears it."""
    with RawClient(provider.port) as client:
        client.websocket_ping(b"payload")
        assert client.ask(post('{"BID":1}'))[0]["Type"] == "Ack"
    with RawClient(simulated.port) as client:
        client.websocket_ping(b"payload")
        assert client.next() is None
        assert client.close_code == 1000


def test_a_login_stream_closed_later(provider: Provider) -> None:
    """The SDK closes the connection then, and sometimes before the Status has left."""
    with RawClient(provider.port) as client:
        provider.tell("logout Force Logout")
        status = client.next()
        if status is None:
            assert client.close_code == 1000
            return
        assert (status["ID"], status["State"]["Stream"], status["State"]["Text"]) == (1, "Closed", "Force Logout")
