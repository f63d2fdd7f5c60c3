"""What a session makes of Acks, Naks and Errors."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from sessions import LOGIN_OK, ack, error, opened, outgoing, posts, verdicts

from contrib_watch.ads.exchange import Answer, Notice, Verdict
from contrib_watch.ads.messages import PONG


class TestAnswers:
    def test_ack_whatever_its_text(self) -> None:
        session = opened()
        session.post(posts(1, 2), 0.5)
        session.receive(ack(2, text="[1]: Contribution Accepted"), 1.0)
        session.receive(ack(1, text="denied"), 2.0)
        assert session.answers() == [
            Answer(2, Verdict.ACKED, "", "[1]: Contribution Accepted", 0.5, 1.0),
            Answer(1, Verdict.ACKED, "", "denied", 0.5, 2.0),
        ]

    @pytest.mark.parametrize(("code", "told"), [("SymbolUnknown", "SymbolUnknown"), (132, "132"), (0, "0"), ("", "")])
    def test_any_nak_code_is_a_refusal(self, code: str | int, told: str) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.receive(ack(1, nak=code, text="F44"), 1.0)
        assert session.answers() == [Answer(1, Verdict.NAKKED, told, "F44", 0.0, 1.0)]

    def test_packed_acks(self) -> None:
        session = opened()
        session.post(posts(1, 2), 0.0)
        session.receive(json.dumps([*json.loads(ack(1)), {"Type": "Ping"}, *json.loads(ack(2, nak="NotOpen"))]), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED}
        assert session.output()[-1] == PONG

    @pytest.mark.parametrize("stray", [ack(99), ack(1), ack(1, nak="NotOpen"), '[{"ID":1,"Type":"Ack"}]'])
    def test_late_repeated_and_unknown_acks_are_noticed(self, stray: str) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(ack(1), 1.0)
        session.answers()
        session.receive(stray, 2.0)
        (notice,) = session.events()
        assert isinstance(notice, Notice)
        assert session.answers() == []
        assert list(session._outstanding) == [2]

    @pytest.mark.parametrize("nak", ["", '"NakCode":"DeniedBySrc",'])
    def test_an_ack_that_names_another_item_is_no_answer(self, nak: str) -> None:
        session = opened(ack_timeout_s=5)
        session.post([replace(outgoing(1), ric="R1")], 0.0)
        session.receive(f'{{"ID":1,"Type":"Ack","AckID":1,{nak}"Key":{{"Name":"R2"}}}}', 1.0)
        (notice,) = session.events()
        assert isinstance(notice, Notice)
        session.tick(5.0)
        assert verdicts(session) == {1: Verdict.TIMEOUT}

    @pytest.mark.parametrize("key", ['{"Name":"A\\\\B"}', '{"Name":"AB"}', '{"Name":7}', '{"Service":"S"}', "null"])
    def test_an_ack_whose_key_may_be_the_posts_is_its_answer(self, key: str) -> None:
        session = opened()
        session.post([replace(outgoing(1), ric="A\\B")], 0.0)
        session.receive(f'{{"ID":1,"Type":"Ack","AckID":1,"Key":{key}}}', 1.0)
        assert verdicts(session) == {1: Verdict.ACKED}

    def test_deadline_runs_from_sending(self) -> None:
        session = opened(window=1, ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(ack(1), 4.0)
        session.tick(8.9)
        assert verdicts(session) == {1: Verdict.ACKED}
        assert session.due_s == 9.0
        session.tick(9.0)
        assert session.answers() == [Answer(2, Verdict.TIMEOUT, "", "no answer within 5 s", 4.0, 9.0)]

    def test_ack_after_the_deadline_changes_nothing(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1), 0.0)
        session.tick(5.0)
        session.answers()
        session.receive(ack(1), 5.1)
        assert session.answers() == []

    def test_disconnect_ends_every_post_once(self) -> None:
        session = opened(window=1)
        session.post(posts(1, 2), 1.0)
        session.disconnected(2.0, "reset by peer")
        assert session.answers() == [
            Answer(1, Verdict.LOST, "", "connection lost before an answer: reset by peer", 1.0, 2.0),
            Answer(2, Verdict.LOST, "", "not sent: reset by peer", None, 2.0),
        ]
        assert session.output() == []
        session.disconnected(3.0, "again")
        assert session.answers() == []

    def test_frames_of_a_lost_connection_do_not_go_on_the_next(self) -> None:
        session = opened()
        session.post(posts(1), 1.0)
        session.disconnected(2.0, "gone")
        session.connected(3.0)
        (login,) = session.output()
        assert json.loads(login)["Domain"] == "Login"


class TestErrors:
    def test_in_a_pack_the_post_at_the_offset_is_at_fault_and_the_rest_goes_again(self) -> None:
        session = opened(pack=3)
        session.post(posts(1, 2, 3, 4), 0.0)
        frame, _ = session.output()
        session.receive(ack(1), 0.5)
        session.receive(error(frame, frame.index('"Name":"R2"')), 1.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED, 3: Verdict.RETURNED}
        assert list(session._outstanding) == [4]

    def test_in_a_pack_without_an_offset_every_unanswered_post_goes_again(self) -> None:
        session = opened(pack=3)
        session.post(posts(1, 2, 3, 4), 0.0)
        frame, _ = session.output()
        session.receive(error(frame), 1.0)
        assert verdicts(session) == dict.fromkeys((1, 2, 3), Verdict.RETURNED)

    def test_single_post_is_known_by_its_post_id(self) -> None:
        session = opened()
        session.post(posts(1, 2, 3), 0.0)
        session.receive(error(outgoing(2).text), 1.0)
        assert session.answers() == [Answer(2, Verdict.NAKKED, "", "JSON Unexpected FID", 0.0, 1.0)]

    def test_without_any_place_all_that_wait_are_suspects_until_their_deadline(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2, 3), 0.0)
        session.receive(error(), 1.0)
        session.post(posts(4), 1.0)
        assert session.answers() == []
        session.receive(ack(1), 2.0)
        session.receive(ack(2, nak="NotOpen"), 2.0)
        session.tick(5.0)
        assert verdicts(session) == {1: Verdict.ACKED, 2: Verdict.NAKKED, 3: Verdict.RETURNED}
        session.tick(6.0)
        assert verdicts(session) == {4: Verdict.TIMEOUT}

    def test_suspicion_ends_with_the_connection(self) -> None:
        session = opened(ack_timeout_s=5)
        session.post(posts(1, 2), 0.0)
        session.receive(error(), 1.0)
        session.disconnected(2.0, "gone")
        assert verdicts(session) == {1: Verdict.LOST, 2: Verdict.LOST}
        session.connected(2.0)
        session.receive(LOGIN_OK, 2.0)
        session.post(posts(1), 2.0)
        session.tick(7.0)
        assert verdicts(session) == {1: Verdict.TIMEOUT}

    def test_of_a_post_that_does_not_wait(self) -> None:
        session = opened()
        session.post(posts(1), 0.0)
        session.receive(error(outgoing(9).text), 1.0)
        assert session.answers() == []
        (notice,) = session.events()
        assert isinstance(notice, Notice)

    def test_a_text_that_looks_like_another_post_accuses_nobody_else(self) -> None:
        session = opened()
        tricky = outgoing(2, fields='{"DSPLY_NAME":"\\"PostID\\":1","BAD":1}')
        session.post([*posts(1), tricky], 0.0)
        session.receive(error(tricky.text.replace('\\"PostID\\"', '"PostID"  '), len(tricky.text) - 5), 1.0)
        assert verdicts(session) == {2: Verdict.NAKKED}
