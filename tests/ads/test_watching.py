"""Items that are watched: opened, followed, opened again, closed; beside posts and items that are read back."""

from __future__ import annotations

import json
from typing import Any

from sessions import login_ok, opened

from contrib_watch.ads.reading import BATCH_ITEMS, ItemRequest, Seen
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.ads.watching import REOPEN_S, STREAMS, Change, ItemChange
from contrib_watch.config import Fields, load_dictionary
from contrib_watch.simulator.core import ServerSession, SimulatedAds

FIRST = STREAMS.start


def said(session: Session) -> list[Any]:
    return [json.loads(frame) for frame in session.output()]


def heard(session: Session, *messages: dict[str, Any], now_s: float = 0.0) -> list[ItemChange]:
    session.receive(json.dumps(messages), now_s)
    return session.item_changes()


def refresh(stream: int, **fields: Any) -> dict[str, Any]:
    return {"ID": stream, "Type": "Refresh", "State": {"Stream": "Open", "Data": "Ok"}, "Fields": fields}


def status(stream: int, kind: str, code: str = "") -> dict[str, Any]:
    state = {"Stream": kind, "Data": "Suspect", "Code": code, "Text": "why"}
    return {"ID": stream, "Type": "Status", "State": state}


def test_a_request_asks_for_changes_and_for_the_view() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A",), ("BID",)), 0.0)
    session.watch(ItemRequest("", ("B",)), 0.0)
    assert said(session) == [
        {"ID": FIRST, "Key": {"Service": "S", "Name": "A"}, "View": ["BID"]},
        {"ID": FIRST + 1, "Key": {"Name": "B"}},
    ]


def test_refresh_updates_and_states_in_order_with_their_exact_numbers() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A",)), 0.0)
    frame = (
        f'[{{"ID":{FIRST},"Type":"Refresh","State":{{"Stream":"Open","Data":"Ok"}},"Fields":{{"BID":1.50}}}},'
        f'{{"ID":{FIRST},"Type":"Update","Fields":{{"BID":1.70,"ASK":null}}}},'
        f'{{"ID":{FIRST},"Type":"Status","State":{{"Stream":"Open","Data":"Suspect","Text":"stale"}}}},'
        f'{{"ID":{FIRST},"Type":"Update"}},{{"ID":{FIRST},"Type":"Generic"}}]'
    )
    session.receive(frame, 1.0)
    changes = session.item_changes()
    assert [(one.change, dict(one.fields)) for one in changes] == [
        (Change.REFRESH, {"BID": "1.50"}),
        (Change.UPDATE, {"BID": "1.70", "ASK": "null"}),
        (Change.STATUS, {}),
        (Change.UPDATE, {}),
    ]
    assert changes[2].state is not None
    assert changes[2].state.text == "stale"
    assert not any(one.over for one in changes)
    assert session.item_changes() == []


def test_many_items_go_in_batches_each_of_one_service_and_view() -> None:
    session = opened()
    session.watch(ItemRequest("S", tuple(f"A{n}" for n in range(BATCH_ITEMS + 1))), 0.0)
    session.watch(ItemRequest("T", ("B",)), 0.0)
    batch, single, other = said(session)
    assert batch["Key"]["Name"] == [f"A{n}" for n in range(BATCH_ITEMS)]
    assert (single["Key"]["Name"], other["Key"]) == (f"A{BATCH_ITEMS}", {"Service": "T", "Name": "B"})
    assert single["ID"] == batch["ID"] + BATCH_ITEMS + 1
    done = {"ID": batch["ID"], "Type": "Status", "State": {"Stream": "Closed", "Data": "Ok"}}
    (change,) = heard(session, done, refresh(batch["ID"] + 3, BID=1))
    assert change.name == "A2"


def test_a_frame_is_never_above_what_the_server_takes() -> None:
    session = opened(login=login_ok(max_msg_size=600))
    names = tuple("R" * 100 + str(n) for n in range(10))
    session.watch(ItemRequest("S", names), 0.0)
    frames = session.output()
    assert max(len(frame.encode()) for frame in frames) <= 600
    asked = [json.loads(frame)["Key"]["Name"] for frame in frames]
    assert [name for some in asked for name in ([some] if isinstance(some, str) else some)] == list(names)
    session.watch(ItemRequest("S", ("X" * 700,)), 0.0)
    assert session.output() == []
    (change,) = session.item_changes()
    assert change.over
    assert change.state is not None
    assert change.state.code == "TooLarge"


def test_a_server_without_batches() -> None:
    session = opened(login=login_ok(batches=False))
    session.watch(ItemRequest("S", ("A", "B")), 0.0)
    assert [one["Key"]["Name"] for one in said(session)] == ["A", "B"]
    session = opened()  # one that says it takes them, and then does not
    session.watch(ItemRequest("S", ("A", "B")), 0.0)
    (batch,) = said(session)
    assert heard(session, status(batch["ID"], "Closed", "UnableToRequestAsBatch")) == []
    assert [one["Key"]["Name"] for one in said(session)] == ["A", "B"]


def test_a_batch_that_goes_wrong_closes_its_items() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A", "B")), 0.0)
    changes = heard(session, {"ID": FIRST, "Type": "Error", "Text": "JSON Unexpected Value"})
    assert [(one.name, one.over, one.state and one.state.text) for one in changes] == [
        ("A", True, "JSON Unexpected Value"),
        ("B", True, "JSON Unexpected Value"),
    ]


def test_what_is_closed_for_good_stays_closed() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A",)), 0.0)
    session.output()
    (change,) = heard(session, status(FIRST, "Closed", "NotFound"))
    assert change.over
    assert heard(session, refresh(FIRST, BID=1)) == []  # too late: nobody watches it
    session.disconnected(1.0, "gone")
    session.connected(2.0)
    session.receive(login_ok(), 2.0)
    session.output()
    session.tick(2.0 + 2 * REOPEN_S)
    assert said(session) == []
    assert session.item_changes() == []


def test_what_is_closed_for_now_is_opened_again() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A",)), 0.0)
    session.output()
    (change,) = heard(session, status(FIRST, "ClosedRecover", "NoResources"), now_s=1.0)
    assert not change.over
    assert session.output() == []
    assert session.due_s == 1.0 + REOPEN_S
    session.tick(1.0 + REOPEN_S)
    (again,) = said(session)
    assert again["Key"] == {"Service": "S", "Name": "A"}
    assert again["ID"] != FIRST


def test_a_lost_connection_is_told_and_everything_opened_again() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A", "B", "C")), 0.0)
    session.output()
    heard(session, status(FIRST + 1, "ClosedRecover"), status(FIRST + 2, "Closed"), now_s=0.1)
    session.disconnected(1.0, "reset")
    (change,) = session.item_changes()
    assert (change.name, change.change, change.over) == ("C", Change.STATUS, False)
    assert change.state is not None
    assert "reset" in change.state.text
    session.watch(ItemRequest("S", ("D",)), 1.5)  # while there is none
    assert session.output() == []
    session.connected(2.0)
    session.receive(login_ok(), 2.0)
    assert [one["Key"]["Name"] for one in said(session)[1:]] == [["C", "A", "D"]]


def test_logging_out_closes_the_streams_first() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A", "B")), 0.0)
    session.output()
    session.logout()
    assert said(session) == [{"ID": [FIRST + 1, FIRST + 2], "Type": "Close"}, {"ID": 1, "Type": "Close"}]


def test_beside_items_that_are_read_back() -> None:
    session = opened()
    session.watch(ItemRequest("S", ("A",)), 0.0)
    session.request(ItemRequest("S", ("A",)), 0.0)
    watched, read = said(session)
    assert watched["ID"] != read["ID"]
    (change,) = heard(session, refresh(watched["ID"], BID=1), refresh(read["ID"], BID=2))
    (answer,) = session.item_answers()
    assert (change.fields["BID"], answer.fields["BID"], answer.seen) == ("1", "2", Seen.FIELDS)


def exchange(session: Session, server: ServerSession, now_s: float) -> None:
    for frame in session.output():
        for answer in server.receive(frame, now_s).frames:
            session.receive(answer.text, now_s)
    for answer in server.tick(now_s).frames:
        session.receive(answer.text, now_s)


def test_against_the_simulated_ads_a_reader_has_what_was_posted() -> None:
    """What the changes add up to is what the ADS holds, over changes of the field list and a deletion."""
    ads = SimulatedAds(load_dictionary(Fields()))
    ads.load("S", "A", '{"BID":1,"ASK":2}')
    server, session = ads.connect(), Session(Login(user="a", app_id="256", position="1.1.1.1"), Limits())
    session.connected(0.0)
    exchange(session, server, 0.0)
    session.watch(ItemRequest("S", ("A", "NONE")), 0.0)
    exchange(session, server, 0.0)
    fields: dict[str, str] = {}
    for change in session.item_changes():
        if change.name == "NONE":
            assert change.over
        else:
            fields |= change.fields
    assert fields == {"BID": "1", "ASK": "2"}

    ads.load("S", "A", '{"BID":7}')
    exchange(session, server, 1.0)
    (change,) = session.item_changes()
    assert (change.change, dict(change.fields)) == (Change.REFRESH, {"BID": "7"})
    session.logout()
    exchange(session, server, 2.0)
    ads.load("S", "A", '{"BID":8}')
    assert server.tick(3.0).frames == []


def test_what_is_opened_again_in_another_order_is_not_taken_for_another_services() -> None:
    session = opened()
    for service in ("S1", "S2"):
        session.watch(ItemRequest(service, ("A", "B")), 0.0)
    said(session)
    # Each Service has a batch: its own stream, then A and B.
    by_ric = [status(FIRST + stream, "ClosedRecover") for stream in (1, 4, 2, 5)]
    heard(session, *by_ric, now_s=1.0)
    session.tick(1.0 + REOPEN_S)
    again = said(session)
    assert [(request["Key"]["Service"], request["Key"]["Name"]) for request in again] == [
        ("S1", "A"), ("S2", "A"), ("S1", "B"), ("S2", "B"),
    ]  # fmt: skip
    answers = [refresh(request["ID"], BID=number) for number, request in enumerate(again)]
    seen = heard(session, *answers, now_s=7.0)
    assert [(change.service, change.name, change.fields["BID"]) for change in seen] == [
        ("S1", "A", "0"), ("S2", "A", "1"), ("S1", "B", "2"), ("S2", "B", "3"),
    ]  # fmt: skip
