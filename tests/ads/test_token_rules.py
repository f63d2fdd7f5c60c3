"""What is asked of the token service and of discovery, what answers mean, and when a token is renewed."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.ads.tokens import (
    LONGEST_RETRY_AFTER_S,
    Account,
    Course,
    Grant,
    Host,
    Renewal,
    Token,
    course,
    read_discovery,
    read_refusal,
    read_token,
    retry_after_s,
    token_form,
)


def account(grant: Grant) -> Account:
    return Account(
        grant=grant,
        client_id="app",
        username="GE-A-1",
        secret="s3cret",
        token_url="https://t",
        discovery_url="https://d",
        scope="trapi",
    )


def token(lifetime_s: float, since_s: float = 0.0) -> Token:
    return Token(access="a", refresh="r", lifetime_s=lifetime_s, since_s=since_s)


@pytest.mark.parametrize(
    ("grant", "refresh", "names"),
    [
        (Grant.PASSWORD, "", "client_id grant_type password scope takeExclusiveSignOnControl username"),
        (Grant.PASSWORD, "r", "client_id grant_type refresh_token username"),
        (Grant.CLIENT_CREDENTIALS, "", "client_id client_secret grant_type scope"),
        (Grant.CLIENT_CREDENTIALS, "r", "client_id client_secret grant_type scope"),
        (Grant.JWT, "", "client_assertion client_assertion_type client_id grant_type scope"),
    ],
)
def test_what_each_grant_sends(grant: Grant, refresh: str, names: str) -> None:
    assert sorted(token_form(account(grant), refresh=refresh, assertion="signed")) == names.split()


def test_secrets_are_not_shown() -> None:
    shown = repr(account(Grant.PASSWORD)) + repr(Token(access="acc3ss", refresh="r3fresh", lifetime_s=1, since_s=0))
    assert not any(secret in shown for secret in ("s3cret", "acc3ss", "r3fresh"))


@given(st.integers(100, 599))
def test_every_status_has_a_course(status: int) -> None:
    expected = {200: Course.TAKE, 400: Course.REFUSED, 401: Course.REFUSED, 429: Course.LATER}
    expected |= dict.fromkeys((301, 302, 307, 308), Course.FOLLOW)
    expected |= dict.fromkeys((403, 404, 410, 451), Course.STOP)
    assert course(status) is expected.get(status, course(status))
    if status >= 500:
        assert course(status) is Course.LATER


@pytest.mark.parametrize("expires_in", [300, "300", 300.0, "300.0"])
def test_a_lifetime_may_be_text(expires_in: object) -> None:
    body = json.dumps({"access_token": "a", "refresh_token": "r", "expires_in": expires_in, "more": 1}).encode()
    assert read_token(body, 7.0) == token(300, since_s=7)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"expires_in": 300},
        {"access_token": "", "expires_in": 300},
        {"access_token": "SECRET\n", "expires_in": 300},
        {"access_token": "SECRET\u00f6", "expires_in": 300},
        {"access_token": "SECRET", "expires_in": 0},
        {"access_token": "SECRET", "expires_in": -1},
        {"access_token": "SECRET", "expires_in": "soon"},
        {"access_token": ["SECRET"], "expires_in": 1},
    ],
)
def test_an_answer_without_a_usable_token(answer: object) -> None:
    with pytest.raises(ValueError, match="its answer holds no") as caught:
        read_token(json.dumps(answer).encode(), 0.0)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_body_is_too_strange(body: bytes) -> None:
    """Whatever a server answers is read, or refused with ValueError."""
    assert isinstance(read_refusal(body), str)
    for read in (lambda: read_token(body, 0.0), lambda: read_discovery(body, "")):
        try:
            read()
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "invalid_client", "error_description": "No."}, "invalid_client: No."),
        ({"error": "invalid_client"}, "invalid_client"),
        ({"error": {"id": "1", "code": "insufficient", "message": "No."}}, "insufficient: No."),
        ({"message": "No."}, "No."),
        ({"error": 7}, ""),
        ([], ""),
    ],
)
def test_why_it_was_refused(body: object, text: str) -> None:
    assert read_refusal(json.dumps(body).encode()) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        (" 5 ", 5),
        (None, 0),
        ("", 0),
        ("-5", 0),
        ("soon", 0),
        ("999999999", LONGEST_RETRY_AFTER_S),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        (formatdate(1_000_030, usegmt=True), 30),
        (formatdate(999_000, usegmt=True), 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_s(value, 1_000_000) == seconds


def service(endpoint: str, *location: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": endpoint, "port": 443, "location": location, "transport": "websocket", **more}


def test_the_region_several_zones_first_websockets_alone() -> None:
    services = [
        service("a", "eu-west-1a"),
        service("us", "us-east-1a", "us-east-1b"),
        service("both", "eu-west-1a", "eu-west-1b", port="8443"),
        service("tcp", "eu-west-1a", "eu-west-1b", transport="tcp"),
        service("b", "eu-west-1b"),
        service("nowhere"),
        service("a", "eu-west-1a", "eu-west-1b", port=99999),
        service("a", "eu-west-1a", "eu-west-1b", port=-1),
        service("a", "eu-west-1a", "eu-west-1b", port=None),
        {"provider": "aws"},
        None,
        service("a", "eu-west-1a"),
    ]
    found = read_discovery(json.dumps({"services": services}).encode(), "eu-west-1")
    assert found.hosts == (Host("both", 8443), Host("a", 443), Host("b", 443))
    assert found.locations == ("eu-west-1a", "eu-west-1b", "us-east-1a", "us-east-1b")


@given(lifetime_s=st.floats(0.5, 1e6), since_s=st.floats(0, 1e6))
def test_a_renewal_is_due_within_the_token_s_life(lifetime_s: float, since_s: float) -> None:
    renewal = Renewal(renews=True)
    assert renewal.due_s is None
    renewal.took(token(lifetime_s, since_s))
    due_s = renewal.due_s
    assert due_s is not None
    assert 0.79 * lifetime_s <= due_s - since_s + 1e-6
    assert due_s - since_s - 1e-6 <= 0.9 * lifetime_s
    assert renewal.for_login(due_s + lifetime_s / 1000 + 1e-6) is None
    assert renewal.for_login(since_s) is not None


@given(lifetime_s=st.floats(1, 1e5), chance=st.floats(0, 1))
def test_a_renewal_that_fails_is_tried_several_times_before_the_token_ends(lifetime_s: float, chance: float) -> None:
    renewal = Renewal(renews=True)
    renewal.took(token(lifetime_s))
    tries = 0
    while (due_s := renewal.due_s) is not None and due_s < lifetime_s:
        before_s, tries = due_s, tries + 1
        renewal.failed(due_s, at_least_s=0, chance=chance)
        assert renewal.due_s is not None
        assert renewal.due_s > before_s
        assert tries < 10_000
    assert tries >= 4


def test_a_retry_after_is_kept_to() -> None:
    renewal = Renewal(renews=True)
    renewal.took(token(100))
    renewal.failed(80, at_least_s=60, chance=0)
    assert renewal.due_s == 140


@pytest.mark.parametrize(
    ("lifetime_s", "now_s", "good"), [(7200, 0, True), (7200, 6800, True), (7200, 6950, False), (299, 0, False)]
)
def test_version_2_is_replaced_near_its_end_and_never_on_an_open_login(
    lifetime_s: float, now_s: float, good: bool
) -> None:
    renewal = Renewal(renews=False)
    renewal.took(token(lifetime_s))
    assert renewal.due_s is None
    assert (renewal.for_login(now_s) is not None) is good


def test_a_discarded_token_leaves_its_refresh_token() -> None:
    renewal = Renewal(renews=True)
    renewal.took(token(100))
    renewal.discard()
    assert renewal.for_login(1) is None
    assert (renewal.refresh, renewal.due_s) == ("r", None)


def test_an_answer_without_a_refresh_token_leaves_the_one_before() -> None:
    renewal = Renewal(renews=True)
    renewal.took(token(100))
    renewal.took(Token(access="b", lifetime_s=100, since_s=80))
    assert renewal.refresh == "r"
