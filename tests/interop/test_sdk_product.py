"""The whole product against a provider on LSEG's SDK for Java: what the spreadsheet says is what it stores."""

from __future__ import annotations

import csv
import datetime
import io
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from price_site import Site
from sdk_provider import DEADLINE_S, MORE_FIELDS, SERVICE, Provider, RawClient, dictionary_texts, eventually

from contrib_watch.adapters.connection import Connection, Endpoint
from contrib_watch.ads.exchange import Answer, LoggedIn, Outgoing, Verdict
from contrib_watch.ads.messages import PostFormat
from contrib_watch.ads.session import Limits, Login, Session
from contrib_watch.core.fields import Dictionary, Kind
from contrib_watch.core.model import Action

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]  # the first build asks Maven Central

RAREST_S = 0.5
"""An Ack of a provider on this machine takes milliseconds; what has none by then gets none."""

TYPED = {
    Kind.REAL: ["22.1", "-0.5", "0", "0.00012345", "101.123456789", "9223372036854775807", "123456789.125"],
    Kind.UINT: ["0", "7", "200"],
    Kind.INT: ["0", "-5", "9223372036854775807", "-9223372036854775808"],
    Kind.TEXT: ["x", "a b", 'q"q', "b\\b", "1"],
    Kind.DATE: ["2026-11-22", "1999-01-01", "2028-02-29"],
    Kind.TIME: ["16:30:05", "00:00:00", "23:59:59.123", "08:15:00"],
}
"""What a field of each type is given in turn."""


def table(header: list[str], *rows: list[str]) -> str:
    """As CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def stored(provider: Provider, rics: list[str]) -> dict[str, dict[str, str | None]]:
    """RIC to its fields as a consumer of the provider would find them: all posts so far, applied in order."""
    cache: dict[str, dict[str, str | None]] = {}
    for post in provider.posts_of(rics):
        if post["nak"]:
            continue
        if post["kind"] == "Refresh":
            cache[post["ric"]] = {}
        cache[post["ric"]] |= {field["name"]: field["value"] for field in post["fields"]}
    return cache


def assert_same(written: str, kept: str | None, where: str) -> None:
    """A cell's text and what is stored for it are one value."""
    assert kept is not None, where
    if written != kept:
        assert Decimal(written) == Decimal(kept), where


def statuses(site: Site, name: str) -> dict[str, str]:
    return {ric: row["status"] for ric, row in site.rows(name).items()}


def write_dictionary(site: Site, more_fields: str = MORE_FIELDS) -> list[str]:
    """The built-in dictionary with more fields, as a site's own; the names of its files for the configuration."""
    names = ["RDMFieldDictionary", "enumtype.def"]
    for name, text in zip(names, dictionary_texts(more_fields), strict=True):
        (site.home / name).write_text(text, encoding="utf-8")
    return names


def unambiguous(enum_values: Mapping[int, str]) -> list[str]:
    """The displays that stand for one value only; any other is rejected."""
    counts = Counter(enum_values.values())
    return [display for display, count in counts.items() if count == 1 and display.strip()]


def sample(kind: Kind, number: int, length: int) -> str:
    values = [value for value in TYPED[kind] if kind is not Kind.TEXT or len(value) <= length]
    return values[number % len(values)]


def test_every_field_of_the_dictionary(provider: Provider, site: Site) -> None:
    """One row for each value of the longest list; each field has the value of its type, or its enumeration's."""
    header, cells = ["RIC"], [[f"ALL{row}"] for row in range(7)]
    for acronym, definition in Dictionary.parse(*dictionary_texts()).fields.items():
        if definition.kind is Kind.ENUM and not definition.enum_values:
            continue
        header.append(acronym)
        for number, row in enumerate(cells):
            if definition.kind is Kind.ENUM:
                displays = unambiguous(definition.enum_values)
                row.append(displays[number * 31 % len(displays)])
            else:
                row.append(sample(definition.kind, number, definition.length))
    site.configure(provider.host, dictionary=write_dictionary(site))
    site.drop("all.csv", table(header, *cells))
    assert site.once() == 0, site.said
    kept = stored(provider, [row[0] for row in cells])
    compared = 0
    for row in cells:
        for acronym, written in zip(header[1:], row[1:], strict=True):
            assert_same(written, kept[row[0]][acronym], f"{row[0]} {acronym}")
            compared += 1
    assert compared > 7 * 80
    assert statuses(site, "all.csv") == {row[0]: "acked" for row in cells}


def test_a_workbook(provider: Provider, site: Site, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["RIC", "BID", "ASK", "CURRENCY", "TRADE_DATE", "QUOTIM", "DSPLY_NAME", "PROD_PERM"])
    moment = datetime.time(16, 30, 5)
    sheet.append(["XL1", 0.30000000000000004, 24, "USD", datetime.date(2026, 11, 22), moment, "0012", 12])
    sheet.append(["XL2", 1e-7, -101.125, "EUR", datetime.date(2026, 2, 28), moment, "=a", 0])
    sheet["G3"].data_type = "s"
    being_written = tmp_path / "being_written.xlsx"
    book.save(being_written)
    site.configure(provider.host)
    being_written.rename(site.inbox / "book.xlsx")
    assert site.once() == 0, site.said
    kept = stored(provider, ["XL1", "XL2"])
    expected = {
        "XL1": ["0.3", "24", "USD", "2026-11-22", "16:30:05", "0012", "12"],
        "XL2": ["0.0000001", "-101.125", "EUR", "2026-02-28", "16:30:05", "=a", "0"],
    }
    for ric, values in expected.items():
        for (acronym, value), written in zip(kept[ric].items(), values, strict=True):
            assert_same(written, value, f"{ric} {acronym}")


def test_random_prices_in_packs(provider: Provider, site: Site) -> None:
    """Up to 15 significant digits, which a workbook cannot exceed, at any scale."""
    dice = random.Random(20261122)
    rows = []
    for number in range(1500):
        digits, decimals = dice.randrange(1, 10 ** dice.randrange(1, 16)), dice.randrange(0, 13)
        price = Decimal(digits).scaleb(-decimals) * dice.choice((1, -1))
        rows.append([f"RND{number}", format(price, "f")])
    site.configure(provider.host, pack=20)
    site.drop("random.csv", table(["RIC", "BID"], *rows))
    assert site.once() == 0, site.said
    kept = stored(provider, [ric for ric, _ in rows])
    assert len(kept) == 1500
    for ric, written in rows:
        assert_same(written, kept[ric]["BID"], ric)


def test_refresh_then_updates_then_nothing(provider: Provider, site: Site) -> None:
    site.configure(provider.host)
    rics = ["UMER.ONE", "UMER.TWO", "UMER.NEW"]
    site.drop("one.csv", table(["RIC", "BID", "ASK"], ["UMER.ONE", "22.1", "24.5"], ["UMER.TWO", "1", "2"]))
    assert site.once() == 0, site.said
    site.drop(
        "two.csv",
        table(
            ["RIC", "BID", "ASK"], ["UMER.ONE", "22.3", "24.5"], ["UMER.TWO", "", "#CLEAR"], ["UMER.NEW", "5", "6"]
        ),
    )
    assert site.once() == 0, site.said
    site.drop("three.csv", table(["RIC", "BID"], ["UMER.ONE", "22.30"]))
    assert site.once() == 0, site.said
    seen = [(post["ric"], post["kind"], len(post["fields"])) for post in provider.posts_of(rics)]
    assert sorted(seen[:2]) == [("UMER.ONE", "Refresh", 2), ("UMER.TWO", "Refresh", 2)]
    assert sorted(seen[2:]) == [("UMER.NEW", "Refresh", 2), ("UMER.ONE", "Update", 1), ("UMER.TWO", "Update", 1)]
    assert stored(provider, rics)["UMER.TWO"] == {"BID": "1", "ASK": None}
    assert statuses(site, "three.csv") == {"UMER.ONE": "unchanged"}
    (first, *_) = provider.posts_of(rics)
    assert first["user_address"] == 0x7F000001
    assert first["user_id"] > 0


def test_a_lost_cache_is_whole_again(provider: Provider, site: Site) -> None:
    """After it each row is changed, so that each is an Update that the provider cannot apply."""
    site.configure(provider.host)
    rics = [f"GONE{number}" for number in range(20)]
    site.drop("one.csv", table(["RIC", "BID", "ASK"], *([ric, "1", "2"] for ric in rics)))
    assert site.once() == 0, site.said
    provider.tell("forget")
    site.drop("two.csv", table(["RIC", "BID"], *([ric, "3"] for ric in rics)))
    assert site.once() == 0, site.said
    with RawClient(provider.port) as reader:
        for ric in rics:
            (image,) = reader.ask(f'{{"ID":5,"Key":{{"Service":"{SERVICE}","Name":"{ric}"}},"Streaming":false}}')
            assert image["Fields"] == {"BID": 3, "ASK": 2}


def test_a_lost_cache_is_whole_again_though_one_row_changed(provider: Provider, site: Site) -> None:
    """What the program acknowledged is read back after the login, enumerations by number too, and posted again."""
    site.configure(provider.host)
    header = ["RIC", "BID", "CURRENCY", "QUOTIM", "TRADE_DATE"]
    rows = [[f"BACK{number}", "1.50", "EUR", "16:30", "2026-11-22"] for number in range(120)]
    site.drop("one.csv", table(header, *rows))
    assert site.once() == 0, site.said
    provider.tell("forget")
    rows[7][1] = "2.5"
    site.drop("two.csv", table(header, *rows))
    assert site.once() == 0, site.said
    with RawClient(provider.port) as reader:
        for ric, bid, *_ in rows:
            (image,) = reader.ask(f'{{"ID":5,"Key":{{"Service":"{SERVICE}","Name":"{ric}"}},"Streaming":false}}')
            expected = {"BID": float(bid), "CURRENCY": 978, "QUOTIM": "16:30:00", "TRADE_DATE": "2026-11-22"}
            assert image["Fields"] == expected, ric


def test_what_is_there_is_not_posted_again(provider: Provider, site: Site) -> None:
    """The provider's way of writing values (24 for 24.0, 978 for EUR) is no difference."""
    site.configure(provider.host)
    header = ["RIC", "BID", "ASK", "CURRENCY", "QUOTIM", "DSPLY_NAME"]
    rows = [[f"THERE{number}", "24.0", "0.00010", "EUR", "16:30:05.500", 'a "b" c'] for number in range(60)]
    site.drop("one.csv", table(header, *rows))
    assert site.once() == 0, site.said
    rows[0][1] = "25"
    site.drop("two.csv", table(header, *rows))
    assert site.once() == 0, site.said
    posted = [(post["ric"], post["kind"]) for post in provider.posts_of([row[0] for row in rows])[60:]]
    assert posted == [("THERE0", "Update")]


def test_a_price_stored_as_another_is_found_by_reconcile(provider: Provider, site: Site) -> None:
    """More digits than a double has: the SDK for Java acknowledges the post and keeps the nearest double's digits."""
    site.configure(provider.host)
    site.drop("long.csv", table(["RIC", "BID"], ["LONG.TST", "90071992547409.93"], ["SHORT.TST", "22.1"]))
    assert site.once() == 0, site.said
    assert stored(provider, ["LONG.TST"])["LONG.TST"] == {"BID": "90071992547409.94"}
    done = site.invoke("reconcile")
    assert done.exit_code == 3, done.output
    assert "LONG.TST" in done.stdout
    assert "SHORT.TST" not in done.stdout


def test_a_price_stored_as_another_is_not_verified(provider: Provider, site: Site) -> None:
    site.configure(provider.host)
    site.config.write_text(site.config.read_text(encoding="utf-8") + "verify = true\n", encoding="utf-8")
    site.drop("read.csv", table(["RIC", "BID"], ["LONGER.TST", "90071992547409.93"], ["SHORTER.TST", "22.1"]))
    assert site.once() == 3, site.said
    rows = site.rows("read.csv")
    assert {row["status"] for row in rows.values()} == {"acked"}
    assert rows["SHORTER.TST"]["verified"] == "yes"
    assert rows["LONGER.TST"]["verified"] == "no: BID 90071992547409.94 instead of 90071992547409.93"


def test_posts_on_the_items_streams(provider: Provider, site: Site) -> None:
    """Items that exist take Refresh and Update on streams of their own; one that does not is not created."""
    rics = [f"STREAM{number}.TST" for number in range(200)]
    site.configure(provider.host)
    site.drop("off.csv", table(["RIC", "BID", "ASK"], *([ric, "1", "2"] for ric in rics)))
    assert site.once() == 0, site.said
    site.config.write_text(site.config.read_text(encoding="utf-8") + 'posting = "on-stream"\n', encoding="utf-8")
    trace = site.home / "trace.txt"
    on = [[ric, f"{number}.5", "2"] for number, ric in enumerate(rics)]
    site.drop("on.csv", table(["RIC", "BID", "ASK"], *on, ["NOSTREAM.TST", "1", "2"]))
    assert site.invoke("run", "--once", "--trace", str(trace)).exit_code == 3
    rows = site.rows("on.csv")
    assert rows.pop("NOSTREAM.TST")["nak_code"] == "ItemClosed"
    assert {row["status"] for row in rows.values()} == {"acked"}
    kept = stored(provider, rics)
    for ric, bid, ask in on:
        assert_same(bid, kept[ric]["BID"], ric)
        assert_same(ask, kept[ric]["ASK"], ric)
    posted = [line for line in trace.read_text(encoding="utf-8").splitlines() if '"Type":"Post"' in line]
    assert len(posted) == len(rics)
    assert not any('{"ID":1,' in line for line in posted)


def test_get_shows_what_was_contributed_as_it_changes(provider: Provider, site: Site) -> None:
    """A Refresh, the next drop's values, Ctrl-C; a RIC that is not there; a View; several in a batch."""
    site.configure(provider.host)
    site.drop("get.csv", table(["RIC", "BID", "ASK"], ["GET1.TST", "22.10", "24.5"], ["GET2.TST", "3", "4"]))
    assert site.once() == 0, site.said
    done = site.invoke("get", "GET1.TST", "GET2.TST", "NOGET.TST", "--view", "BID", "--snapshot", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    fields = {line["ric"]: line["fields"] for line in lines if line["type"] == "Refresh"}
    assert done.exit_code == 3, done.output
    assert {ric: held["BID"] for ric, held in fields.items()} == {"GET1.TST": 22.1, "GET2.TST": 3}
    assert [line["ric"] for line in lines if line["type"] == "Status"] == ["NOGET.TST"]

    program = [str(Path(sys.executable).with_name("contrib-watch")), "get", "GET1.TST", "--json"]
    program += ["--config", str(site.config)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = (json.loads(line) for line in process.stdout)
            assert next(line for line in told if line["type"] == "Refresh")["fields"]["BID"] == 22.1
            site.drop("again.csv", table(["RIC", "BID"], ["GET1.TST", "22.3"]))
            assert site.once() == 0, site.said
            assert next(line for line in told if "BID" in line.get("fields", ()))["fields"]["BID"] == 22.3
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()


def test_a_nak_is_reported(provider: Provider, site: Site) -> None:
    provider.tell("nak 1 DENIED.TST not for you")
    site.configure(provider.host)
    site.drop("nak.csv", table(["RIC", "BID"], ["DENIED.TST", "1"], ["ALLOWED.TST", "1"]))
    assert site.once() == 3, site.said
    rows = site.rows("nak.csv")
    denied = rows["DENIED.TST"]
    assert (denied["status"], denied["nak_code"], denied["text"]) == ("nakked", "AccessDenied", "not for you")
    assert rows["ALLOWED.TST"]["status"] == "acked"


def test_a_refused_login_ends_it(provider: Provider, site: Site) -> None:
    site.configure(provider.host, user="nobody")
    site.drop("one.csv", table(["RIC", "BID"], ["REFUSED.TST", "1"]))
    assert site.once() == 5
    assert "UserUnknownToPermSys" in site.said
    assert "nobody, unknown to system." in site.said
    assert provider.posts_of(["REFUSED.TST"]) == []


def test_a_connection_that_breaks_while_it_posts(provider: Provider, site: Site) -> None:
    rics = [f"BREAK{number}" for number in range(300)]
    site.configure(provider.host, rate_limit=150)
    site.drop("break.csv", table(["RIC", "BID"], *([ric, str(number)] for number, ric in enumerate(rics))))
    with site.running_once() as process:
        eventually(lambda: len(provider.posts_of(rics)) > 50, "posts came")
        provider.tell("disconnect")
    assert process.returncode == 0
    assert set(statuses(site, "break.csv").values()) == {"acked"}
    assert {ric: fields["BID"] for ric, fields in stored(provider, rics).items()} == {
        ric: str(number) for number, ric in enumerate(rics)
    }
    assert len({post["post_id"] for post in provider.posts_of(rics)}) == len(provider.posts_of(rics))


def test_a_provider_that_dies_while_it_is_posted_to(
    classpath: str, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = Provider(classpath, tmp_path_factory.mktemp("first"))
    rics = [f"DIES{number}" for number in range(300)]
    site.configure(first.host, rate_limit=150, presence_sample=0)
    site.drop("one.csv", table(["RIC", "BID"], *([ric, "1"] for ric in rics)))
    try:
        with site.running_once() as process:
            eventually(lambda: len(first.posts_of(rics)) > 50, "posts came")
            first.kill()
            second = Provider(classpath, tmp_path_factory.mktemp("second"), first.port)
        assert process.returncode == 0
        assert set(statuses(site, "one.csv").values()) == {"acked"}
        together = {post["ric"] for post in first.posts_of(rics) + second.posts_of(rics)}
        assert together == set(rics)
        second.close()
    finally:
        first.close()


# The session, where the SDK answers nothing to what it cannot convert.


@pytest.fixture
def line(provider: Provider) -> Iterator[Connection]:
    """A logged-in connection with packs of ten."""
    login = Login(user="session", app_id="256", position="127.0.0.1")
    limits = Limits(window=100, pack=10, rate_limit=0, ack_timeout_s=RAREST_S)
    connection = Connection(
        [Endpoint(host="127.0.0.1", port=provider.port)], Session(login, limits), connect_timeout_s=10
    )
    connection.start()
    try:
        eventually(lambda: any(isinstance(event, LoggedIn) for event in connection.collect(1).events), "logged in")
        yield connection
    finally:
        connection.close()


def answered(line: Connection, posts: list[Outgoing]) -> dict[int, Answer]:
    """Posts, and the end of each."""
    line.post(posts)
    answers: dict[int, Answer] = {}

    def all_came() -> bool:
        answers.update({answer.post_id: answer for answer in line.collect(0.1).answers})
        return len(answers) == len(posts)

    eventually(all_came, "every post had its answer")
    return answers


def outgoing(post_id: int, fields: dict[str, Any] | str) -> Outgoing:
    text = PostFormat(service=SERVICE, address="127.0.0.1", user_id=1).text(
        post_id, f"LINE{post_id}", Action.REFRESH, str(fields)
    )
    return Outgoing(post_id, text)


def test_a_bad_post_takes_the_rest_of_its_pack_along_in_silence(provider: Provider, line: Connection) -> None:
    posts = [outgoing(number, '{"BID":1}') for number in range(1, 31)]
    posts[13] = outgoing(14, '{"NOSUCHFLD":1}')
    answers = answered(line, posts)
    silent = {number for number, answer in answers.items() if answer.verdict is Verdict.TIMEOUT}
    assert silent == set(range(14, 21))
    assert {answer.verdict for number, answer in answers.items() if number not in silent} == {Verdict.ACKED}
    assert {post["post_id"] for post in provider.posts_of([f"LINE{number}" for number in range(14, 21)])} == set()


def test_the_session_stays_up_while_it_has_nothing_to_say(line: Connection) -> None:
    """For longer than the provider's PingTimeout: its Pings are answered."""
    collected = [line.collect(4.0), line.collect(0.1)]
    assert [event for part in collected for event in part.events] == []
    assert answered(line, [outgoing(99, '{"BID":1}')])[99].verdict is Verdict.ACKED


@pytest.mark.parametrize("pack", [1, 10])
def test_rows_beside_one_that_the_server_cannot_read(provider: Provider, site: Site, pack: int) -> None:
    """The site's dictionary has a field more than the server's: only the rows that use it are unconfirmed."""
    more = 'MORE_FLD   "MORE FLD"         12003  NULL        PRICE          17      REAL64          7\n'
    site.configure(
        provider.host,
        dictionary=write_dictionary(site, more),
        ack_timeout_s=RAREST_S,
        pack=pack,
        retries=1,
    )
    rows = [[f"BESIDE{pack}.{number}", "1", "2" if number == 4 else ""] for number in range(10)]
    site.drop("beside.csv", table(["RIC", "BID", "MORE_FLD"], *rows))
    assert site.once() == 4, site.said
    ended = statuses(site, "beside.csv")
    assert [ric for ric, status in ended.items() if status == "unconfirmed"] == [f"BESIDE{pack}.4"]
    assert sorted(stored(provider, list(ended))) == sorted(set(ended) - {f"BESIDE{pack}.4"})
