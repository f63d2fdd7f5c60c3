"""Frames as the simulated ADS's strict reader takes them, and its answers as typed messages."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.messages import (
    PONG,
    Debug,
    PostFormat,
    ServerMessage,
    close_request,
    culprit,
    decode,
    login_request,
    quoted,
    quoted_all,
)
from contrib_watch.config import load_dictionary
from contrib_watch.config.settings import Fields
from contrib_watch.core.model import Action, Post
from contrib_watch.simulator.core import Closing, ServerSession, SimulatedAds

LOGIN = login_request(user="analyst", app_id="256", position="10.1.2.3")
FORM = PostFormat(service="NIPROV", address="10.44.12.152", user_id=7408)
RICS = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"])) | st.sampled_from(['A"B', "C\\D"])
DICTIONARY = load_dictionary(Fields())


def logged_in(ads: SimulatedAds) -> ServerSession:
    session = ads.connect()
    (frame,) = session.receive(LOGIN, 0.0).frames
    (answer,) = decode(frame.text)
    assert answer.state is not None
    assert (answer.type, answer.domain, answer.state.stream) == ("Refresh", "Login", "Open")
    return session


def answers(session: ServerSession, text: str) -> list[ServerMessage]:
    return [message for frame in session.receive(text, 0.0).frames for message in decode(frame.text)]


def told(text: str) -> ServerMessage:
    (message,) = decode(text)
    return message


class TestPosts:
    """What is written is what the server reads."""

    def test_refresh_has_exactly_the_form_of_a_contribution(self) -> None:
        text = FORM.text(7, "UMER.TST", Action.REFRESH, '{"BID":22.1}')
        assert json.loads(text) == {
            "ID": 1,
            "Type": "Post",
            "Domain": "MarketPrice",
            "Ack": True,
            "PostID": 7,
            "Key": {"Service": "NIPROV", "Name": "UMER.TST"},
            "PostUserInfo": {"Address": "10.44.12.152", "UserID": 7408},
            "Message": {
                "ID": 0,
                "Type": "Refresh",
                "Domain": "MarketPrice",
                "Solicited": False,
                "State": {"Stream": "Open", "Data": "Ok"},
                "Fields": {"BID": 22.1},
            },
        }

    def test_update_carries_no_state(self) -> None:
        inner = json.loads(FORM.text(7, "UMER.TST", Action.UPDATE, '{"BID":22.1}'))["Message"]
        assert inner == {"ID": 0, "Type": "Update", "Domain": "MarketPrice", "Fields": {"BID": 22.1}}

    def test_server_stores_the_decoded_values(self) -> None:
        ads = SimulatedAds(DICTIONARY)
        session = logged_in(ads)
        (ack,) = answers(
            session, FORM.text(7, "UMER.TST", Action.REFRESH, '{"BID":22.1,"ASK":24.5,"CURRENCY":"USD"}')
        )
        assert (ack.type, ack.ack_id, ack.nak_code) == ("Ack", 7, None)
        (ack,) = answers(session, FORM.text(8, "UMER.TST", Action.UPDATE, '{"ASK":null,"BID":22.3}'))
        assert (ack.ack_id, ack.nak_code) == (8, None)
        assert ads.cache["NIPROV", "UMER.TST"] == {"BID": Decimal("22.3"), "ASK": None, "CURRENCY": "USD"}

    def test_pack_is_accepted_and_answered_post_by_post(self) -> None:
        ads = SimulatedAds(DICTIONARY)
        pack = ",".join(FORM.text(n, f"R{n}", Action.REFRESH, '{"BID":1}') for n in (1, 2, 3))
        assert [ack.ack_id for ack in answers(logged_in(ads), f"[{pack}]")] == [1, 2, 3]
        assert len(ads.cache) == 3

    def test_largest_post_id(self) -> None:
        (ack,) = answers(logged_in(SimulatedAds(DICTIONARY)), FORM.text(2**32 - 1, "A", Action.REFRESH, '{"BID":1}'))
        assert ack.ack_id == 2**32 - 1

    @given(
        text=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
        ric=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1),
    )
    def test_any_ascii_text_arrives_as_written(self, text: str, ric: str) -> None:
        ads = SimulatedAds(DICTIONARY)
        (ack,) = answers(logged_in(ads), FORM.text(1, ric, Action.REFRESH, f'{{"DSPLY_NAME":{quoted(text)}}}'))
        assert ack.nak_code is None
        assert ads.cache["NIPROV", ric] == {"DSPLY_NAME": text or None}

    def test_service_with_a_quotation_mark_stays_json(self) -> None:
        form = PostFormat(service='N"I\\', address="10.1.1.1", user_id=1)
        assert json.loads(form.text(1, "A", Action.UPDATE, "{}"))["Key"]["Service"] == 'N"I\\'

    @given(st.lists(st.tuples(RICS, st.sampled_from(list(Action))), max_size=4), st.booleans())
    def test_texts_of_many_posts_are_those_of_each(self, wanted: list[tuple[str, Action]], on_stream: bool) -> None:
        form = PostFormat(service="S", address="10.1.1.1", user_id=1, on_stream=on_stream)
        posts = [Post(0, ric, action, '{"BID":1}', "{}", "") for ric, action in wanted]
        single = [form.text(number, post.ric, post.action, post.fields) for number, post in enumerate(posts, 7)]
        assert form.texts(range(7, 7 + len(posts)), posts) == single


class TestQuoted:
    """The only escapes that survive the server's converter."""

    @given(st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"])))
    def test_is_json_for_the_same_text_without_other_escapes(self, text: str) -> None:
        written = quoted(text)
        assert json.loads(written) == text
        inside = written[1:-1].replace("\\\\", "").replace('\\"', "")
        assert "\\" not in inside

    @pytest.mark.parametrize("text", ["a\nb", "\t", "\x00", "x\x1f", "\x1b%0caf\xe9"])
    def test_control_character_cannot_be_sent(self, text: str) -> None:
        with pytest.raises(ValueError, match="control character"):
            quoted(text)
        with pytest.raises(ValueError, match="control character"):
            quoted_all(["a", text])

    def test_unprintable_but_harmless_characters_pass(self) -> None:
        assert quoted("a\xa0b\u200bc") == '"a\xa0b\u200bc"'


def test_login_carries_user_application_and_position() -> None:
    assert json.loads(login_request(user='a"b\\c', app_id="256", position="10.1.2.3/net")) == {
        "ID": 1,
        "Domain": "Login",
        "Key": {"Name": 'a"b\\c', "Elements": {"ApplicationId": "256", "Position": "10.1.2.3/net"}},
    }


def test_close_of_the_login_stream_logs_out() -> None:
    session = logged_in(SimulatedAds(DICTIONARY))
    assert answers(session, close_request(1)) == []
    (status,) = answers(session, FORM.text(1, "A", Action.REFRESH, '{"BID":1}'))
    assert status.state is not None
    assert status.state.code == "UsageError"


def test_pong_is_taken_without_an_answer() -> None:
    session = logged_in(SimulatedAds(DICTIONARY))
    assert session.receive(PONG, 1.0).frames == []
    assert session.receive(PONG, 1.0).close is Closing.NO


class TestDecode:
    """Whatever an ADS sends is a list of messages or a ValueError."""

    def test_absent_parts_have_the_protocols_defaults(self) -> None:
        message = told('{"ID":3}')
        assert (message.id, message.type, message.domain, message.nak_code) == (3, "Request", "MarketPrice", None)

    def test_one_message_and_an_array(self) -> None:
        assert decode('{"Type":"Ping"}') == decode(b'[{"Type":"Ping"}]') == [ServerMessage(type="Ping")]
        assert decode("[]") == []

    @pytest.mark.parametrize(("written", "read"), [('"NoResponse"', "NoResponse"), ("132", 132)])
    def test_nak_code_is_a_name_or_a_number(self, written: str, read: str | int) -> None:
        assert told(f'[{{"ID":1,"Type":"Ack","AckID":7,"NakCode":{written}}}]').nak_code == read

    @pytest.mark.parametrize(("written", "read"), [('"NotEntitled"', "NotEntitled"), ("57", 57)])
    def test_state_code_is_a_name_or_a_number(self, written: str, read: str | int) -> None:
        state = told(f'{{"ID":1,"Type":"Status","State":{{"Stream":"Closed","Code":{written}}}}}').state
        assert state is not None
        assert state.code == read

    def test_unknown_members_are_passed_over(self) -> None:
        message = told('{"ID":1,"Type":"Ack","AckID":2,"Later":[1,{"a":null}],"Key":{"Name":["A","B"],"NameType":1}}')
        assert message.ack_id == 2

    @pytest.mark.parametrize(
        "frame",
        [
            "",
            "nonsense",
            '[{"ID":1,"Type":"Ack","AckI',
            '"text"',
            "17",
            "null",
            '[{"ID":"one"}]',
            "[[]]",
            b"\xff\xfe",
            b'{"Text":"\xff"}',
            '{"ID":1} {"ID":2}',
            '{"Key":{"Name":' + "[" * 100_000,
            '{"Fields":' + "[" * 100_000,
            '{"Other":' + '{"a":' * 100_000,
        ],
    )
    def test_what_is_no_message_is_a_value_error(self, frame: str | bytes) -> None:
        with pytest.raises(ValueError, match="what is no message"):
            decode(frame)

    @given(st.binary(max_size=60) | st.text(max_size=60))
    def test_anything_is_read_or_refused(self, frame: str | bytes) -> None:
        try:
            assert isinstance(decode(frame), list)
        except ValueError:
            return


def error(frame: str, offset: int | None = None) -> ServerMessage:
    return ServerMessage(id=1, type="Error", text="JSON Unexpected FID", debug=Debug(message=frame, offset=offset))


def pack(*post_ids: int, fields: str = '{"BID":1}') -> str:
    return "[" + ",".join(FORM.text(n, f"R{n}", Action.REFRESH, fields) for n in post_ids) + "]"


class TestCulprit:
    """Which post an Error is about, where its text tells."""

    def test_without_debug_nothing_is_known(self) -> None:
        assert culprit(ServerMessage(type="Error", text="?")) == (None, set())

    def test_empty_or_garbled_message(self) -> None:
        assert culprit(error("")) == (None, set())
        assert culprit(error("no post at all", 3)) == (None, set())

    def test_single_post_needs_no_offset(self) -> None:
        assert culprit(error(FORM.text(7, "A", Action.UPDATE, "{}"))) == (7, {7})

    @pytest.mark.parametrize("bad", [8, 9, 10])
    def test_offset_points_at_the_post(self, bad: int) -> None:
        frame = pack(8, 9, 10)
        assert culprit(error(frame, frame.index(f'"Name":"R{bad}"'))) == (bad, {8, 9, 10})

    def test_pack_without_an_offset(self) -> None:
        assert culprit(error(pack(8, 9))) == (None, {8, 9})

    def test_offset_before_the_first_post(self) -> None:
        assert culprit(error(pack(8, 9), 0)) == (None, {8, 9})

    def test_offset_counts_bytes(self) -> None:
        form = PostFormat(service="ÄÖÜ" * 30, address="10.1.1.1", user_id=1)
        frame = "[" + ",".join(form.text(n, "A", Action.REFRESH, '{"BAD":1}') for n in (8, 9)) + "]"
        offset = len(frame[: frame.index('"BAD"')].encode())
        assert culprit(error(frame, offset)) == (8, {8, 9})

    def test_text_cut_short_accuses_nobody(self) -> None:
        """The post at fault may be one of those that are not shown."""
        whole = pack(8, 9, 10)
        shown = whole[: whole.index(',{"ID":1,"Type":"Post"', 1)]
        assert culprit(error(shown)) == (None, {8})
        assert culprit(error(shown, whole.index('"PostID":10'))) == (None, {8})

    def test_a_fields_text_is_not_taken_for_a_post(self) -> None:
        """The converter unescapes strings in place, so that a text may show what looks like a member."""
        frame = pack(8, 9, fields='{"DSPLY_NAME":"\\"PostID\\":99,","BAD":1}').replace('\\"PostID\\"', '"PostID"  ')
        assert culprit(error(frame, frame.index('"BAD"'))) == (8, {8, 9})
        single = FORM.text(7, "A", Action.REFRESH, '{"DSPLY_NAME":"' + FORM.text(99, "B", Action.UPDATE, "{}") + '"}')
        assert culprit(error(single, len(single) - 1)) == (7, {7})

    @pytest.mark.parametrize("bad", range(5))
    def test_as_the_simulated_ads_words_it(self, bad: int) -> None:
        session = logged_in(SimulatedAds(DICTIONARY))
        fields = ['{"NOSUCHFLD":1}' if n == bad else '{"DSPLY_NAME":"a \\"b\\""}' for n in range(5)]
        frame = "[" + ",".join(FORM.text(n, f"R{n}", Action.REFRESH, fields[n]) for n in range(5)) + "]"
        *acks, refused = answers(session, frame)
        assert [ack.ack_id for ack in acks] == list(range(bad))
        assert refused.type == "Error"
        assert culprit(refused) == (bad, set(range(5)))
