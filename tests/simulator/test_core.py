"""What the server does with connections, logins, posts, packs and item requests, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from ads_peer import LOGIN, Peer, post
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contrib_watch.core.fields import Dictionary
from contrib_watch.simulator.core import Closing, SimulatedAds, Verdict
from contrib_watch.simulator.json_tokens import Unparsable, tokenize
from contrib_watch.simulator.messages import ConversionError

KEY = ("NIPROV", "UMER.TST")
Login = Callable[[SimulatedAds], Peer]


def ids(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Type and AckID of each message."""
    return [(message["Type"], message.get("AckID")) for message in messages]


def pack(*posts: str) -> str:
    return "[" + ",".join(posts) + "]"


class TestLogin:
    def test_the_refresh_announces_the_limits(self, dictionary: Dictionary) -> None:
        peer = Peer(SimulatedAds(dictionary, ping_timeout_s=12, max_msg_size=5000).connect())
        (refresh,) = peer.say(LOGIN)
        assert (refresh["ID"], refresh["Type"], refresh["Domain"]) == (1, "Refresh", "Login")
        assert refresh["Elements"] == {"MaxMsgSize": 5000, "PingTimeout": 12}

    def test_by_token(self, dictionary: Dictionary) -> None:
        ads = SimulatedAds(dictionary, users=["secret-token"])
        login = '{"ID":1,"Domain":"Login","Key":{"NameType":"AuthnToken","Elements":{"AuthenticationToken":"%s"}}}'
        for token, kind in (("secret-token", "Refresh"), ("stale-token", "Status")):
            peer = Peer(ads.connect())
            (answer,) = peer.say(login % token)
            assert answer["Type"] == kind
            assert token not in peer.frames[0]

    def test_refused_then_closed(self, dictionary: Dictionary) -> None:
        peer = Peer(SimulatedAds(dictionary, users=["somebody"]).connect())
        (status,) = peer.say(LOGIN)
        assert (status["ID"], status["Type"], status["Domain"]) == (1, "Status", "Login")
        assert (status["State"]["Stream"], status["State"]["Data"]) == ("Closed", "Suspect")
        assert status["State"]["Code"] == "UserUnknownToPermSys"
        assert "analyst" in status["State"]["Text"]
        assert peer.close is Closing.NORMAL
        assert peer.say(LOGIN) == []

    def test_a_post_before_it_is_a_usage_error(self, ads: SimulatedAds) -> None:
        (status,) = Peer(ads.connect()).say(post())
        assert status["Type"] == "Status"
        assert status["State"]["Stream"] == "ClosedRecover"
        assert status["State"]["Data"] == "Suspect"
        assert status["State"]["Code"] == "UsageError"
        assert not ads.cache

    def test_again_without_a_refresh_gets_no_answer(self, peer: Peer) -> None:
        assert peer.say(LOGIN.replace('"Domain"', '"Refresh":false,"Domain"')) == []
        assert ids(peer.say(post())) == [("Ack", 7)]

    def test_again_with_a_refresh_gets_one(self, peer: Peer) -> None:
        assert ids(peer.say(LOGIN)) == [("Refresh", None)]

    def test_forced_out_later(self, ads: SimulatedAds, peer: Peer) -> None:
        ads.force_logout("UserAccessToAppDenied")
        (status,) = peer.wait()
        assert (status["ID"], status["Domain"], status["Type"]) == (1, "Login", "Status")
        assert status["State"]["Stream"] == "Closed"
        assert status["State"]["Text"] == "Force Logout"
        assert peer.close is Closing.NO
        assert peer.say(post())[0]["State"]["Code"] == "UsageError"
        assert peer.say(LOGIN)[0]["Type"] == "Refresh"

    def test_closed_by_the_client(self, peer: Peer) -> None:
        assert peer.say('{"ID":1,"Type":"Close"}') == []
        assert peer.say(post())[0]["State"]["Code"] == "UsageError"


class TestTime:
    def test_a_ping_comes_every_third_of_the_timeout_even_when_busy(self, peer: Peer) -> None:
        pings = []
        for second in range(1, 31):
            peer.now_s = float(second)
            peer.say(post(post_id=second))
            pings += [second for message in peer.wait() if message["Type"] == "Ping"]
        assert pings == [10, 20, 30]

    def test_a_silent_client_is_closed(self, peer: Peer) -> None:
        assert ids(peer.wait(29.9)) == [("Ping", None)]
        assert peer.close is Closing.NO
        assert peer.wait(0.1) == []
        assert peer.close is Closing.NORMAL

    def test_a_pong_is_a_sign_of_life(self, peer: Peer) -> None:
        peer.wait(20)
        assert peer.say('{"Type":"Pong"}') == []
        peer.wait(20)
        assert peer.close is Closing.NO

    def test_next_due_is_when_something_happens(self, peer: Peer) -> None:
        assert peer.session.next_due_s == 10
        assert peer.wait(9.9) == []
        assert ids(peer.wait(0.1)) == [("Ping", None)]
        assert peer.session.next_due_s == 20

    def test_the_client_may_ping(self, peer: Peer) -> None:
        assert ids(peer.say('{"Type":"Ping"}')) == [("Pong", None)]

    def test_a_websocket_ping_with_a_payload_ends_the_session(self, peer: Peer) -> None:
        assert peer.session.websocket_ping(b"").close is Closing.NO
        assert peer.session.websocket_ping(b"alive?").close is Closing.NORMAL
        assert peer.say(post()) == []


class TestFrames:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\ufeff" + post(),
            post()[:-1],
            post() + post(),
            post('{"BID":NaN}'),
            post('{"BID":Infinity}'),
            post('{"BID":.5}'),
            post('{"BID":+1}'),
            post('{"BID":22.1,}'),
            post(r'{"DSPLY_NAME":"\x41"}'),
            pack(post(), post('{"BID":NaN}')),
        ],
    )
    def test_what_does_not_parse_closes_without_a_word(self, peer: Peer, ads: SimulatedAds, text: str) -> None:
        assert peer.say(text) == []
        assert peer.close is Closing.NORMAL
        assert not ads.cache

    def test_every_cut_of_a_frame_closes(self, ads: SimulatedAds, login: Login) -> None:
        whole = pack(post(), post(kind="Update", post_id=8))
        for length in range(len(whole)):
            cut = login(ads)
            assert cut.say(whole[:length]) == []
            assert cut.close is Closing.NORMAL
        assert not ads.cache

    def test_deep_nesting_is_read(self) -> None:
        depth = 100_000
        assert tokenize("[" * depth + "]" * depth).end == 2 * depth

    def test_larger_than_the_limit_breaks_the_connection_off(self, dictionary: Dictionary, login: Login) -> None:
        text = post(r'{"DSPLY_NAME":"é"}')
        fits = login(SimulatedAds(dictionary, max_msg_size=len(text.encode())))
        assert ids(fits.say(text)) == [("Ack", 7)]
        too_large = login(SimulatedAds(dictionary, max_msg_size=len(text.encode()) - 1))
        assert too_large.say(text) == []
        assert too_large.close is Closing.ABRUPT

    def test_type_defaults_to_request_and_domain_to_market_price(self, ads: SimulatedAds, peer: Peer) -> None:
        ads.load("DEFAULT", "TRI.N", '{"BID":1}')
        assert ids(peer.say('{"ID":2,"Key":{"Name":"TRI.N"}}')) == [("Refresh", None)]

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ('{"Key":{"Name":"A"}}', "JSON Missing required key 'ID'"),
            (
                '{"ID":"2","Key":{"Name":"A"}}',
                "JSON Converter Token Type error: Expected 'PRIMITIVE' for key 'ID' Received 'STRING'",
            ),
            ('{"ID":2,"Type":"Nonsense"}', "JSON Unexpected Value. Received 'Nonsense' for key 'Type'"),
            (
                "[7]",
                "JSON Converter Token Type error: Expected 'OBJECT' for key 'Message' Received 'PRIMITIVE'",
            ),
        ],
    )
    def test_a_message_that_is_none(self, peer: Peer, text: str, error: str) -> None:
        (answer,) = peer.say(text)
        assert (answer["Type"], answer["Text"]) == ("Error", error)
        assert peer.close is Closing.NO


class TestPosts:
    def test_a_refresh_creates_and_an_update_changes(self, ads: SimulatedAds, peer: Peer) -> None:
        (ack,) = peer.say(post())
        assert ack == {
            "ID": 1,
            "Type": "Ack",
            "AckID": 7,
            "Key": {"Service": "NIPROV", "Name": "UMER.TST"},
            "Text": "[1]: Contribution Accepted",
        }
        peer.say(post('{"BID":22.3}', kind="Update", post_id=8))
        assert ads.cache[KEY] == {"BID": Decimal("22.3"), "ASK": Decimal("24.5")}

    def test_a_refresh_replaces_the_whole_field_list(self, ads: SimulatedAds, peer: Peer) -> None:
        peer.say(post())
        peer.say(post('{"BID":22.3}'))
        assert ads.cache[KEY] == {"BID": Decimal("22.3")}

    def test_an_update_of_an_absent_item_is_nakked(self, ads: SimulatedAds, peer: Peer) -> None:
        (nak,) = peer.say(post(kind="Update"))
        assert (nak["Type"], nak["AckID"], nak["NakCode"]) == ("Ack", 7, "SymbolUnknown")
        assert nak["Text"] == "F44: Unable to find item on post update."
        assert not ads.cache

    def test_a_closing_status_deletes_the_item(self, ads: SimulatedAds, peer: Peer) -> None:
        peer.say(post())
        delete = post(kind="Status").replace('"Fields"', '"State":{"Stream":"Closed","Data":"Suspect"},"Fields"')
        assert peer.say(delete)[0]["Text"] == "[3]: Delete Accepted"
        assert not ads.cache

    def test_rics_and_services_are_apart_and_case_sensitive(self, ads: SimulatedAds, peer: Peer) -> None:
        peer.say(post('{"BID":1}', ric="a"))
        peer.say(post('{"BID":2}', ric="A"))
        peer.say(post('{"BID":3}', key='{"Service":"OTHER","Name":"A"}'))
        assert {key: item["BID"] for key, item in ads.cache.items()} == {
            ("NIPROV", "a"): 1,
            ("NIPROV", "A"): 2,
            ("OTHER", "A"): 3,
        }

    def test_ack_false_gets_no_answer(self, ads: SimulatedAds, peer: Peer) -> None:
        assert peer.say(post().replace('"Ack":true', '"Ack":false')) == []
        assert peer.say(post(post_id=8).replace('"Ack":true,', "")) == []
        assert len(ads.posts) == 2
        assert KEY in ads.cache

    def test_without_a_type_it_is_dropped_without_a_word(self, ads: SimulatedAds, peer: Peer) -> None:
        assert peer.say(post().replace('"Type":"Post",', "")) == []
        assert not ads.cache

    def test_on_a_stream_that_is_not_open_it_is_dropped_without_a_word(self, ads: SimulatedAds, peer: Peer) -> None:
        assert peer.say(post().replace('"ID":1', '"ID":5', 1)) == []
        assert not ads.cache

    @pytest.mark.parametrize("missing", ['"ID":0,', '"Type":"Refresh",'])
    def test_the_inner_id_and_type_are_required(self, peer: Peer, missing: str) -> None:
        (error,) = peer.say(post().replace(missing, "", 1))
        assert error["Text"].startswith("JSON Missing required key")
        assert "Offset" not in error["Debug"]

    def test_a_missing_service_is_the_default_service(self, dictionary: Dictionary, login: Login) -> None:
        ads = SimulatedAds(dictionary, services=["FIRST", "SECOND"])
        login(ads).say(post(key='{"Name":"UMER.TST"}'))
        assert list(ads.cache) == [("FIRST", "UMER.TST")]

    def test_a_service_may_be_an_id(self, dictionary: Dictionary, login: Login) -> None:
        ads = SimulatedAds(dictionary, services=["FIRST", "SECOND"])
        peer = login(ads)
        peer.say(post(key='{"Service":2,"Name":"UMER.TST"}'))
        assert list(ads.cache) == [("SECOND", "UMER.TST")]
        assert peer.say(post(key='{"Service":9,"Name":"UMER.TST"}'))[0]["NakCode"] == "SourceUnknown"

    def test_an_unknown_service_name_is_an_error(self, dictionary: Dictionary, login: Login) -> None:
        ads = SimulatedAds(dictionary, services=["FIRST"])
        (error,) = login(ads).say(post())
        assert error["Text"] == "JSON Unexpected Value. Received 'NIPROV' for key 'Service'"

    @pytest.mark.parametrize(
        ("written", "answered"), [("4294967295", 2**32 - 1), ("4294967296", 0), ("4294967303", 7)]
    )
    def test_the_post_id_wraps(self, peer: Peer, written: str, answered: int) -> None:
        assert ids(peer.say(post(post_id=written))) == [("Ack", answered)]

    @pytest.mark.parametrize("written", ['"7"', "7.5", "-7", "true"])
    def test_a_post_id_is_a_whole_number(self, peer: Peer, written: str) -> None:
        assert ids(peer.say(post(post_id=written))) == [("Error", None)]

    @pytest.mark.parametrize(
        "user",
        [
            '{"Address":"10.44.12.152","UserID":7408}',
            '{"Address":170658968,"UserID":7408}',
            '{"UserID":4294967295,"Address":"0.0.0.0"}',
        ],
    )
    def test_a_good_post_user_info(self, peer: Peer, user: str) -> None:
        assert ids(peer.say(post(top=f'"PostUserInfo":{user},'))) == [("Ack", 7)]

    @pytest.mark.parametrize(
        "user",
        [
            '{"Address":"10.44.12.152"}',
            '{"UserID":7408}',
            '{"Address":"workstation7","UserID":7408}',
            '{"Address":"::1","UserID":7408}',
            '{"Address":"10.44.12.152/net","UserID":7408}',
            '{"Address":"10.44.12.256","UserID":7408}',
            '{"Address":"10.44.12.152","UserID":"7408"}',
            '{"Address":"10.44.12.152","UserID":null}',
        ],
    )
    def test_a_bad_post_user_info_is_an_error(self, ads: SimulatedAds, peer: Peer, user: str) -> None:
        assert ids(peer.say(post(top=f'"PostUserInfo":{user},'))) == [("Error", None)]
        assert not ads.cache

    def test_the_sequence_number_comes_back(self, peer: Peer) -> None:
        assert peer.say(post(top='"SeqNumber":41,'))[0]["SeqNumber"] == 41
        assert "SeqNumber" not in peer.say(post(top='"SeqNum":41,'))[0]

    def test_the_name_is_not_unescaped(self, ads: SimulatedAds, peer: Peer) -> None:
        (ack,) = peer.say(post(ric=r"A\u00e9\"B"))
        assert list(ads.cache) == [("NIPROV", r"A\u00e9\"B")]
        assert ack["Key"]["Name"] == r"A\u00e9\"B"

    def test_a_ric_has_at_most_255_bytes(self, peer: Peer) -> None:
        assert ids(peer.say(post(ric="R" * 255))) == [("Ack", 7)]
        assert ids(peer.say(post(ric="R" * 256))) == [("Error", None)]
        assert ids(peer.say(post(ric="é" * 128))) == [("Error", None)]

    def test_a_converted_message_has_at_most_65535_bytes(self, dictionary: Dictionary, login: Login) -> None:
        ads = SimulatedAds(dictionary, max_msg_size=200_000)
        peer = login(ads)
        assert ids(peer.say(post('{"DSPLY_NAME":"%s"}' % ("x" * 65_000)))) == [("Ack", 7)]
        (error,) = peer.say(post('{"DSPLY_NAME":"%s"}' % ("x" * 65_536)))
        assert error["Text"].endswith("-29")
        assert "Offset" not in error["Debug"]
        assert peer.close is Closing.NO

    def test_on_an_items_stream_no_key_is_needed(self, ads: SimulatedAds, peer: Peer) -> None:
        ads.load("NIPROV", "UMER.TST", '{"BID":1}')
        peer.say('{"ID":5,"Key":{"Service":"NIPROV","Name":"UMER.TST"}}')
        on_stream = post('{"BID":2}', kind="Update").replace('"ID":1', '"ID":5', 1)
        on_stream = on_stream.replace('"Key":{"Service":"NIPROV","Name":"UMER.TST"},', "")
        answers = peer.say(on_stream)
        assert [(answer["ID"], answer["Type"]) for answer in answers] == [(5, "Update"), (5, "Ack")]
        assert ads.cache[KEY]["BID"] == 2

    def test_every_decoded_post_is_kept_as_written(self, ads: SimulatedAds, peer: Peer) -> None:
        peer.say(post('{"BID":22.10}'))
        peer.say(post(kind="Update", ric="OTHER", post_id=8))
        first, second = ads.posts
        assert (first.service, first.ric, first.kind, first.post_id) == (*KEY, "Refresh", 7)
        assert (first.fields, first.verdict) == ({"BID": "22.10"}, Verdict.APPLIED)
        assert (second.ric, second.verdict, second.nak_code) == ("OTHER", Verdict.NAKKED, "SymbolUnknown")

    def test_load_puts_an_item_into_the_cache(self, ads: SimulatedAds) -> None:
        ads.load("NIPROV", "UMER.TST", '{"BID":22.1,"CURRENCY":"USD"}')
        assert ads.cache == {KEY: {"BID": Decimal("22.1"), "CURRENCY": "USD"}}
        with pytest.raises(ConversionError):
            ads.load("NIPROV", "UMER.TST", '{"BID":"22.1"}')


class TestPacks:
    def test_each_ack_comes_in_a_frame_of_its_own(self, peer: Peer) -> None:
        assert ids(peer.say(pack(post(post_id=1), post(post_id=2)))) == [("Ack", 1), ("Ack", 2)]
        assert len(peer.frames) == 2

    def test_or_all_in_one_where_asked_for(self, dictionary: Dictionary, login: Login) -> None:
        peer = login(SimulatedAds(dictionary, packed_acks=True))
        assert ids(peer.say(pack(post(post_id=1), post(post_id=2)))) == [("Ack", 1), ("Ack", 2)]
        assert len(peer.frames) == 1

    def test_a_bad_post_takes_the_later_ones_with_it(self, ads: SimulatedAds, peer: Peer) -> None:
        posts = [post(post_id=1, ric="A"), post('{"BID":"x"}', post_id=2, ric="B"), post(post_id=3, ric="C")]
        assert ids(peer.say(pack(*posts))) == [("Ack", 1), ("Error", None)]
        assert list(ads.cache) == [("NIPROV", "A")]
        assert peer.close is Closing.NO
        assert ids(peer.say(posts[2])) == [("Ack", 3)]

    def test_acks_may_come_after_the_error(self, dictionary: Dictionary, login: Login) -> None:
        peer = login(SimulatedAds(dictionary, errors_first=True))
        frame = pack(post(post_id=1), post('{"BID":"x"}', post_id=2))
        assert ids(peer.say(frame)) == [("Error", None), ("Ack", 1)]

    def test_the_error_may_be_lost(self, dictionary: Dictionary, login: Login) -> None:
        peer = login(SimulatedAds(dictionary, errors_lost=True))
        frame = pack(post(post_id=1), post('{"BID":"x"}', post_id=2), post(post_id=3))
        assert ids(peer.say(frame)) == [("Ack", 1)]
        assert ids(peer.say(post(post_id=4))) == [("Ack", 4)]

    def test_a_nak_takes_nothing_with_it(self, peer: Peer) -> None:
        frame = pack(post(kind="Update", post_id=1), post(post_id=2), post(kind="Update", post_id=3))
        assert [answer.get("NakCode") for answer in peer.say(frame)] == ["SymbolUnknown", None, None]


class TestErrors:
    def test_the_form(self, peer: Peer) -> None:
        frame = post('{"BID":22.1,"NOSUCHFLD":1}')
        (error,) = peer.say(frame)
        assert (error["ID"], error["Type"]) == (1, "Error")
        assert "AckID" not in error
        assert error["Text"] == "JSON Unexpected FID. Received 'NOSUCHFLD' for key 'Fields'"
        debug = error["Debug"]
        assert set(debug) == {"File", "Line", "Offset", "Message"}
        assert debug["Message"] == frame
        assert frame[debug["Offset"] :].startswith("NOSUCHFLD")

    def test_the_offset_counts_bytes_of_the_whole_frame(self, peer: Peer) -> None:
        frame = pack(post('{"DSPLY_NAME":"é"}', post_id=1), post('{"BID":"x"}', post_id=2))
        error = peer.say(frame)[1]
        assert error["Debug"]["Message"] == frame
        assert frame.encode()[error["Debug"]["Offset"] :].startswith(b'x"}')

    def test_strings_read_before_it_are_unescaped_in_place(self, peer: Peer) -> None:
        fields = r'{"DSPLY_NAME":"a\"b","NOSUCHFLD":1,"BKGD_REF":"c\"d"}'
        (error,) = peer.say(post(fields))
        message = error["Debug"]["Message"]
        assert len(message) == len(post(fields))
        assert r'"DSPLY_NAME":"a"bb","NOSUCHFLD":1,"BKGD_REF":"c\"d"' in message
        with pytest.raises(json.JSONDecodeError):
            json.loads(message)
        assert message[error["Debug"]["Offset"] :].startswith("NOSUCHFLD")

    def test_an_encoding_error_does_not_say_where(self, peer: Peer) -> None:
        (error,) = peer.say(post('{"TRADE_DATE":"tomorrow"}'))
        assert "Offset" not in error["Debug"]
        assert error["Debug"]["Message"]


class TestItems:
    REQUEST = '{"ID":2,"Key":{"Service":"NIPROV","Name":"UMER.TST"}%s}'

    @pytest.fixture(autouse=True)
    def item(self, ads: SimulatedAds) -> None:
        ads.load(*KEY, '{"BID":0.0000001,"ASK":24.5,"DSPLY_NAME":null,"CURRENCY":"USD"}')

    def test_a_refresh_answers(self, peer: Peer) -> None:
        (refresh,) = peer.say(self.REQUEST % "")
        assert (refresh["ID"], refresh["Type"]) == (2, "Refresh")
        assert refresh["Key"] == {"Service": "NIPROV", "Name": "UMER.TST"}
        assert refresh["State"]["Stream"] == "Open"
        assert refresh["Fields"] == {"BID": 1e-7, "ASK": 24.5, "DSPLY_NAME": None, "CURRENCY": "USD"}
        assert '"BID":0.0000001,' in peer.frames[0]
        assert {"Qos", "SeqNumber"} < set(refresh)

    def test_a_snapshot_is_not_followed_by_updates(self, peer: Peer) -> None:
        (refresh,) = peer.say(self.REQUEST % ',"Streaming":false')
        assert refresh["State"]["Stream"] == "NonStreaming"
        assert ids(peer.say(post(kind="Update"))) == [("Ack", 7)]

    def test_updates_reach_the_open_streams_of_all_sessions(
        self, ads: SimulatedAds, peer: Peer, login: Login
    ) -> None:
        woken: list[int] = []
        reader = Peer(ads.connect(on_output=lambda: woken.append(1)))
        reader.say(LOGIN)
        reader.say(self.REQUEST % "")
        assert woken == []
        peer.say(post('{"BID":22.3}', kind="Update"))
        assert woken == [1]
        (update,) = reader.wait()
        assert (update["ID"], update["Type"], update["Fields"]) == (2, "Update", {"BID": 22.3})
        peer.say(post('{"ASK":1}'))
        (refresh,) = reader.wait()
        assert (refresh["Type"], refresh["Fields"]) == ("Refresh", {"ASK": 1})

    def test_a_view_narrows_refresh_and_updates(self, peer: Peer) -> None:
        (refresh,) = peer.say(self.REQUEST % ',"View":["BID","ACVOL_1"]')
        assert refresh["Fields"] == {"BID": 1e-7}
        assert ids(peer.say(post('{"ASK":1}', kind="Update"))) == [("Ack", 7)]
        update, _ = peer.say(post('{"ASK":1,"BID":2}', kind="Update"))
        assert update["Fields"] == {"BID": 2}

    def test_close_ends_a_stream(self, peer: Peer) -> None:
        peer.say(self.REQUEST % "")
        assert peer.say('{"ID":2,"Type":"Close"}') == []
        assert ids(peer.say(post(kind="Update"))) == [("Ack", 7)]

    def test_close_may_name_several(self, peer: Peer) -> None:
        peer.say(self.REQUEST % "")
        peer.say((self.REQUEST % "").replace('"ID":2', '"ID":3'))
        assert peer.say('{"ID":[2,3],"Type":"Close"}') == []
        assert ids(peer.say(post(kind="Update"))) == [("Ack", 7)]

    def test_a_deleted_item_closes_its_streams(self, peer: Peer) -> None:
        peer.say(self.REQUEST % "")
        delete = post(kind="Status").replace('"Fields"', '"State":{"Stream":"Closed"},"Fields"')
        status, _ = peer.say(delete)
        assert (status["Type"], status["State"]["Stream"]) == ("Status", "Closed")

    def test_a_disconnected_session_is_forgotten(self, ads: SimulatedAds, peer: Peer, login: Login) -> None:
        reader = login(ads)
        reader.say(self.REQUEST % "")
        reader.session.disconnected()
        peer.say(post(kind="Update"))
        assert reader.wait() == []
        assert reader.session.next_due_s is None

    def test_an_unknown_item_is_closed(self, peer: Peer) -> None:
        (status,) = peer.say('{"ID":2,"Key":{"Service":"NIPROV","Name":"NONE"}}')
        assert (status["ID"], status["Type"]) == (2, "Status")
        assert (status["State"]["Stream"], status["State"]["Code"]) == ("Closed", "NotFound")

    def test_a_batch_gets_consecutive_ids(self, peer: Peer) -> None:
        answers = peer.say('{"ID":2,"Key":{"Service":"NIPROV","Name":["UMER.TST","NONE"]}}')
        assert [(answer["ID"], answer["Type"]) for answer in answers] == [
            (2, "Status"),
            (3, "Refresh"),
            (4, "Status"),
        ]
        assert answers[0]["State"]["Stream"] == "Closed"
        update, _ = peer.say(post(kind="Update"))
        assert update["ID"] == 3

    def test_a_dictionary_cannot_be_had(self, peer: Peer) -> None:
        (status,) = peer.say('{"ID":2,"Domain":"Dictionary","Key":{"Service":"NIPROV","Name":"RWFFld"}}')
        assert (status["Type"], status["State"]["Code"]) == ("Status", "UsageError")


tokens = st.one_of(
    st.sampled_from(["null", "true", "1e5", '"NaN"', '"USD"', '"2026-11-22"', '"16:30"', "{}", "-5", "12.50"]),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\')).map(
        lambda text: f'"{text}"'
    ),
)
fields = st.dictionaries(
    st.sampled_from(["BID", "ACVOL_1", "NET_INT", "CURRENCY", "DSPLY_NAME", "TRADE_DATE", "TRDTIM_1", "NONE"]),
    tokens,
    max_size=4,
)


@given(fields, st.integers(0, 2**33), st.sampled_from(["Refresh", "Update"]), st.sampled_from(["10.0.0.1", "host"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_fast_reading_agrees_with_the_reference(
    ads: SimulatedAds, values: dict[str, str], post_id: int, kind: str, address: str
) -> None:
    written = "{" + ",".join(f'"{name}":{token}' for name, token in values.items()) + "}"
    user = f'"PostUserInfo":{{"Address":"{address}","UserID":1}},'
    frame = pack(post(written, post_id=post_id, kind=kind, top=user))
    try:
        reference: list[Any] | None = list(ads.converter.read(frame).messages())
    except ConversionError:
        reference = None
    fast = ads.converter.ordinary_posts(frame)
    if fast is not None:
        assert fast == reference
    elif reference is not None:
        assert post_id >= 2**32 or "{}" in values.values()


@given(st.text(alphabet='{}[]:,"\\ \n01-+.eEtfnaluNI\x1bé') | st.binary().map(lambda data: data.decode("latin-1")))
def test_the_tokenizer_takes_whatever_json_is(text: str) -> None:
    try:
        json.loads(text, parse_constant=_not_json)
    except ValueError:
        return
    try:
        tokenize(text)
    except Unparsable:
        pytest.fail(f"JSON, but not read: {text!r}")


def _not_json(constant: str) -> None:
    raise ValueError(constant)
