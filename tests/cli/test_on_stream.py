"""``posting = "on-stream"`` over real sockets: items are opened, opened again, and what cannot be is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_site import SERVICE, Site, ads, eventually, held, posts, sheet

from contrib_watch.simulator.messages import Post
from contrib_watch.simulator.server import SimulatedServer

ON_STREAM = {"posting": "on-stream"}


@pytest.fixture
def trace(site: Site) -> Path:
    return site.home / "trace.txt"


def load(server: SimulatedServer, *rics: str) -> None:
    with server.inspect() as seen:
        for ric in rics:
            seen.load(SERVICE, ric, '{"BID":0,"ASK":9}')


def delete(server: SimulatedServer, ric: str) -> None:
    """As another contributor does it: the item's streams are closed."""
    with server.inspect() as seen:
        end = Post(0, SERVICE, ric, kind="Status", values={}, tokens={}, closes=True)
        assert seen.items.apply(end, (SERVICE, ric))


def messages(trace: Path, direction: str) -> Iterator[dict[str, object]]:
    """What went out (``>``) or came in (``<``), in order."""
    for line in trace.read_text(encoding="utf-8").splitlines():
        _, way, _, text = line.split(" ", 3)
        if way == direction:
            frame = json.loads(text)
            yield from frame if isinstance(frame, list) else [frame]


def asked_for(trace: Path) -> list[str]:
    """The RICs that were opened, in order."""
    asked = [one for one in messages(trace, ">") if "Type" not in one and "Domain" not in one]
    return [one["Key"]["Name"] for one in asked]  # type: ignore[index]


def statuses(site: Site, name: str) -> dict[str, tuple[str, str]]:
    return {row["ric"]: (row["status"], row["nak_code"]) for row in site.rows(name)}


def test_a_daemon_keeps_items_open_and_opens_closed_ones_again(site: Site, trace: Path) -> None:
    with ads() as server:
        load(server, "A=T", "B=T")
        site.configure(server.address, feed=ON_STREAM, presence_sample=0)
        with site.running("--trace", str(trace)):
            site.drop("one.csv", sheet("A=T,1", "B=T,2", "NO=T,3"))
            eventually(lambda: site.over(1), "the first drop is over")
            assert statuses(site, "one.csv") == {
                "A=T": ("acked", ""),
                "B=T": ("acked", ""),
                "NO=T": ("nakked", "ItemClosed"),
            }
            (text,) = (row["text"] for row in site.rows("one.csv") if row["ric"] == "NO=T")
            assert text == "not sent: the server did not open the item (NotFound: The record could not be found)"
            site.drop("two.csv", sheet("A=T,1.5", "B=T,2"))
            eventually(lambda: site.over(2), "the second drop is over")
            assert sorted(asked_for(trace)) == ["A=T", "B=T", "NO=T"]

            delete(server, "A=T")
            eventually(lambda: '"The item was deleted"' in trace.read_text(), "the closed stream was told")
            load(server, "A=T")
            site.drop("three.csv", sheet("A=T,1.75", "B=T,2.5"))
            eventually(lambda: site.over(3), "the third drop is over")
        assert statuses(site, "three.csv") == {"A=T": ("acked", ""), "B=T": ("acked", "")}
        assert held(server) == {"A=T": "1.75", "B=T": "2.5"}
        assert sorted(asked_for(trace)) == ["A=T", "A=T", "B=T", "NO=T"]
        sent = [one for one in messages(trace, ">") if one.get("Type") == "Post"]
        assert len(sent) == len(posts(server)) == 5
        assert not any(one["ID"] == 1 or "Key" in one for one in sent)


def test_after_a_lost_connection_the_items_of_the_posts_are_opened_anew(site: Site, trace: Path) -> None:
    """And a lost Ack makes a full Refresh, as off-stream."""
    rics = [f"R{n}=T" for n in range(50)]
    breaks = {"kind": "drop_connection_after", "ric": "R2?=T", "nth": 3, "times": 1}
    lost = {"kind": "lose_ack", "ric": "R40=T", "times": 1}
    with ads(breaks, lost) as server:
        load(server, *rics)
        site.configure(server.address, feed=ON_STREAM, ack_timeout_s=1, pack=5, presence_sample=0)
        site.drop("prices.csv", sheet(*(f"{ric},{n}" for n, ric in enumerate(rics, 1))))
        done = site.invoke("run", "--once", "--trace", str(trace))
        assert done.exit_code == 0, done.output
        assert set(statuses(site, "prices.csv").values()) == {("acked", "")}
        assert held(server) == {ric: str(n) for n, ric in enumerate(rics, 1)}
        assert [one.kind for one in posts(server) if one.ric == "R40=T"][-1] == "Refresh"
    assert len(asked_for(trace)) > len(set(asked_for(trace))) == 50


def test_a_repair_goes_on_stream_too(site: Site, trace: Path) -> None:
    with ads() as server:
        load(server, "A=T")
        site.configure(server.address, feed=ON_STREAM)
        site.drop("prices.csv", sheet("A=T,1"))
        assert site.invoke("run", "--once").exit_code == 0
        with server.inspect() as seen:
            seen.load(SERVICE, "A=T", '{"BID":99}')
        assert site.invoke("reconcile", "--repair").exit_code == 0
        assert held(server) == {"A=T": "1"}
