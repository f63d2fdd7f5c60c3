"""The fault script: what each fault does to a post, to which posts, and what a script may say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ads_peer import LOGIN, Peer, post

from contrib_watch.core.fields import Dictionary
from contrib_watch.errors import ConfigurationError
from contrib_watch.simulator.core import Closing, SimulatedAds, Verdict
from contrib_watch.simulator.faults import Fault, FaultKind, FaultScript

Misbehave = Callable[..., tuple[SimulatedAds, Peer]]


@pytest.fixture
def misbehave(dictionary: Dictionary) -> Misbehave:
    """A logged-in client of an ADS with these faults, given as a script's entries."""

    def connect(*faults: dict[str, Any]) -> tuple[SimulatedAds, Peer]:
        ads = SimulatedAds(dictionary, FaultScript.from_dict({"faults": list(faults)}))
        peer = Peer(ads.connect())
        peer.say(LOGIN)
        return ads, peer

    return connect


class TestWhatHappens:
    """Each fault happens to the second of three posts in one frame."""

    FRAME = "[" + ",".join(post(post_id=number, ric=f"R{number}") for number in (1, 2, 3)) + "]"

    def play(self, misbehave: Misbehave, **fault: Any) -> tuple[SimulatedAds, Peer, list[Any]]:
        ads, peer = misbehave({"ric": "R2"} | fault)
        answers = peer.say(self.FRAME)
        return ads, peer, [answer.get("AckID", answer["Type"]) for answer in answers]

    @staticmethod
    def held(ads: SimulatedAds) -> list[str]:
        return [ric for _, ric in ads.cache]

    def test_nak(self, misbehave: Misbehave) -> None:
        ads, peer = misbehave({"kind": "nak", "ric": "R2", "code": "AccessDenied", "text": "Not yours"})
        _, nak, _ = peer.say(self.FRAME)
        assert (nak["AckID"], nak["NakCode"], nak["Text"]) == (2, "AccessDenied", "Not yours")
        assert self.held(ads) == ["R1", "R3"]

    def test_nak_with_a_number(self, misbehave: Misbehave) -> None:
        _, peer = misbehave({"kind": "nak", "code": 132})
        assert peer.say(post())[0]["NakCode"] == 132

    def test_error(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="error", text="JSON Made up.")
        assert answers == [1, "Error"]
        assert self.held(ads) == ["R1"]
        assert peer.close is Closing.NO
        (error,) = json.loads(peer.frames[1])
        assert (error["ID"], error["Text"]) == (1, "JSON Made up.")
        assert error["Debug"]["Message"] == self.FRAME
        assert self.FRAME[error["Debug"]["Offset"] :].startswith(post(post_id=2, ric="R2"))
        assert [record.verdict for record in ads.posts] == [Verdict.APPLIED, Verdict.ERROR]

    def test_error_without_its_place(self, misbehave: Misbehave) -> None:
        _, peer, _ = self.play(misbehave, kind="error", debug=False)
        (error,) = json.loads(peer.frames[1])
        assert error["Debug"] == {"Message": self.FRAME}

    def test_lose_ack(self, misbehave: Misbehave) -> None:
        ads, _, answers = self.play(misbehave, kind="lose_ack")
        assert answers == [1, 3]
        assert self.held(ads) == ["R1", "R2", "R3"]

    def test_lose_post(self, misbehave: Misbehave) -> None:
        ads, _, answers = self.play(misbehave, kind="lose_post")
        assert answers == [1, 3]
        assert self.held(ads) == ["R1", "R3"]
        assert [record.verdict for record in ads.posts] == [Verdict.APPLIED, Verdict.LOST, Verdict.APPLIED]

    def test_ack_unapplied(self, misbehave: Misbehave) -> None:
        ads, _, answers = self.play(misbehave, kind="ack_unapplied")
        assert answers == [1, 2, 3]
        assert self.held(ads) == ["R1", "R3"]
        assert [record.verdict for record in ads.posts] == [Verdict.APPLIED, Verdict.IGNORED, Verdict.APPLIED]

    def test_delay_ack(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="delay_ack", delay_s=2.5)
        assert dict(zip(answers, peer.delays, strict=True)) == {1: 0, 2: 2.5, 3: 0}
        assert self.held(ads) == ["R1", "R2", "R3"]

    def test_repeat_ack(self, misbehave: Misbehave) -> None:
        _, _, answers = self.play(misbehave, kind="repeat_ack")
        assert answers == [1, 2, 2, 3]

    def test_drop_connection_before(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="drop_connection_before")
        assert answers == [1]
        assert peer.close is Closing.ABRUPT
        assert self.held(ads) == ["R1"]

    def test_drop_connection_after(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="drop_connection_after")
        assert answers == [1]
        assert peer.close is Closing.ABRUPT
        assert self.held(ads) == ["R1", "R2"]

    def test_garbage(self, misbehave: Misbehave) -> None:
        ads, _, answers = self.play(misbehave, kind="garbage")
        assert answers == [1, "garbage", 2, 3]
        assert self.held(ads) == ["R1", "R2", "R3"]

    def test_silence(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="silence")
        assert answers == [1]
        assert peer.close is Closing.NO
        assert self.held(ads) == ["R1"]
        assert peer.say('{"Type":"Ping"}') == []
        assert peer.say(post()) == []
        assert peer.wait(1000) == []
        assert peer.session.next_due_s is None
        another = Peer(ads.connect())
        assert another.say(LOGIN)[0]["Type"] == "Refresh"

    def test_forget_cache(self, misbehave: Misbehave) -> None:
        ads, _, answers = self.play(misbehave, kind="forget_cache")
        assert answers == [1, 2, 3]
        assert self.held(ads) == ["R2", "R3"]

    def test_forget_cache_before_an_update(self, misbehave: Misbehave) -> None:
        _, peer = misbehave({"kind": "forget_cache", "nth": 2})
        peer.say(post())
        assert peer.say(post(kind="Update"))[0]["NakCode"] == "SymbolUnknown"

    def test_force_logout(self, misbehave: Misbehave) -> None:
        ads, peer, answers = self.play(misbehave, kind="force_logout", code="ForcedLogout")
        assert answers == [1, 2, "Status", "Status"]
        (forced,) = json.loads(peer.frames[2])
        assert forced["State"]["Code"] == "ForcedLogout"
        assert forced["State"]["Text"] == "Force Logout"
        assert self.held(ads) == ["R1", "R2"]

    def test_refuse_login(self, dictionary: Dictionary) -> None:
        script = FaultScript(
            (Fault(kind=FaultKind.REFUSE_LOGIN, code="TooManyUsers", text="Already pending login", times=2),)
        )
        ads = SimulatedAds(dictionary, script)
        for _ in range(2):
            peer = Peer(ads.connect())
            state = peer.say(LOGIN)[0]["State"]
            assert (state["Code"], state["Text"]) == ("TooManyUsers", "Already pending login")
            assert peer.close is Closing.NORMAL
        assert Peer(ads.connect()).say(LOGIN)[0]["Type"] == "Refresh"

    def test_several_at_once(self, misbehave: Misbehave) -> None:
        _, peer = misbehave({"kind": "garbage"}, {"kind": "lose_ack"})
        assert [answer["Type"] for answer in peer.say(post())] == ["garbage"]


class TestToWhich:
    @pytest.mark.parametrize(
        ("conditions", "lost"),
        [
            ({}, [1, 2, 3, 4, 5, 6]),
            ({"nth": 3}, [3]),
            ({"every": 2}, [2, 4, 6]),
            ({"every": 2, "times": 2}, [2, 4]),
            ({"times": 1}, [1]),
            ({"ric": "*.EVEN"}, [2, 4, 6]),
            ({"ric": "*.even"}, []),
            ({"ric": "*.EVEN", "nth": 2}, [4]),
            ({"post_ids": [1, 6]}, [1, 6]),
            ({"chance": 0}, []),
        ],
    )
    def test_conditions(self, misbehave: Misbehave, conditions: dict[str, Any], lost: list[int]) -> None:
        _, peer = misbehave({"kind": "lose_ack"} | conditions)
        answered = []
        for number in range(1, 7):
            ric = f"{number}.EVEN" if number % 2 == 0 else f"{number}.ODD"
            answered += [answer["AckID"] for answer in peer.say(post(post_id=number, ric=ric))]
        assert sorted({1, 2, 3, 4, 5, 6} - set(answered)) == lost

    def test_chance_is_the_seeds(self) -> None:
        def losses(seed: int) -> list[bool]:
            run = FaultScript((Fault(kind=FaultKind.LOSE_ACK, chance=0.5),), seed).start()
            return [bool(run.for_post("R", number)) for number in range(200)]

        assert losses(1) == losses(1)
        assert losses(1) != losses(2)
        assert 60 < sum(losses(1)) < 140


class TestScripts:
    def test_from_a_file(self) -> None:
        text = '{"seed":4,"faults":[{"kind":"nak","ric":"B*","code":"NotOpen"},{"kind":"delay_ack","delay_s":1}]}'
        assert FaultScript.from_dict(json.loads(text)) == FaultScript(
            (
                Fault(kind=FaultKind.NAK, ric="B*", code="NotOpen"),
                Fault(kind=FaultKind.DELAY_ACK, delay_s=1),
            ),
            seed=4,
        )

    def test_an_empty_one_does_nothing(self) -> None:
        assert FaultScript.from_dict({}) == FaultScript()

    @pytest.mark.parametrize(
        ("script", "problem"),
        [
            ({"fault": []}, '"fault" is not a key of a fault script, did you mean "faults"?'),
            ({"seed": "x"}, "seed must be a whole number"),
            ({"faults": {}}, "faults must be a list"),
            ({"faults": ["nak"]}, "faults[0]: must be a table of keys and values"),
            ({"faults": [{"ric": "A"}]}, "faults[0]: kind is missing"),
            ({"faults": [{"kind": "lose_acks"}]}, '"lose_acks" is not a kind of fault, did you mean "lose_ack"?'),
            ({"faults": [{"kind": "lose_ack", "evry": 2}]}, '"evry" is not a key of a fault, did you mean "every"?'),
            ({"faults": [{"kind": "lose_ack", "every": "2"}]}, "every must be a whole number"),
            ({"faults": [{"kind": "lose_ack", "every": True}]}, "every must be a whole number"),
            ({"faults": [{"kind": "lose_ack", "every": 0}]}, "every must be more than 0"),
            ({"faults": [{"kind": "lose_ack", "chance": 2}]}, "chance must be from 0 to 1"),
            ({"faults": [{"kind": "lose_ack", "post_ids": ["1"]}]}, "post_ids must be a list of whole numbers"),
            ({"faults": [{"kind": "lose_ack", "delay_s": 1}]}, "delay_s means nothing for lose_ack"),
            ({"faults": [{"kind": "nak"}]}, "nak needs code"),
            ({"faults": [{"kind": "delay_ack"}]}, "delay_ack needs delay_s"),
            ({"faults": [{"kind": "refuse_login"}]}, "refuse_login needs code"),
        ],
    )
    def test_a_problem_is_named(self, script: dict[str, Any], problem: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            FaultScript.from_dict(script)
        assert problem in str(raised.value)

    def test_all_problems_are_named_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as raised:
            FaultScript.from_dict({"seed": None, "faults": [{"kind": "nak"}, {"kind": "lose_ack", "nth": -1}]})
        message = str(raised.value)
        assert "seed" in message
        assert "faults[0]: nak needs code" in message
        assert "faults[1]: nth must be more than 0" in message
