"""config.toml -> Settings: the shipped file, every rule with its message, and the paths."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, time
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contrib_watch
from contrib_watch.config import (
    Ads,
    Fields,
    InvalidConfiguration,
    Log,
    Settings,
    State,
    check_mappings,
    load,
    load_dictionary,
)
from contrib_watch.config.conflicts import _overlap
from contrib_watch.config.secrets import with_secret
from contrib_watch.config.settings import CloudTable
from contrib_watch.core.business_days import Calendar, Expectation
from contrib_watch.core.limits import RULES, Guards, Limit
from contrib_watch.core.model import Feed
from contrib_watch.errors import ConfigurationError

SHIPPED = Path(__file__).parents[1] / "config.toml"
DATA = Path(contrib_watch.__file__).parent / "data"

MINIMAL = """\
[ads]
hosts = ["simulated"]
user = "analyst"

[[feeds]]
name = "fx"
folder = "inbox/fx"
service = "NIPROV"
"""


def written(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidConfiguration) as caught:
        written(folder, text)
    return caught.value.problems


def with_keys(ads: str = "", feed: str = "", sections: str = "") -> str:
    """MINIMAL with further keys; a key that MINIMAL has is replaced."""
    tables = tomllib.loads(MINIMAL)
    text = "[ads]\n"
    for table, extra in (("ads", ads), ("feeds", feed)):
        known = tables[table] if table == "ads" else tables[table][0]
        kept = {k: v for k, v in known.items() if not re.search(rf"(?m)^{k} =", extra)}
        text += "".join(f"{k} = {v!r}\n" for k, v in kept.items()) + extra + "\n"
        text += "[[feeds]]\n" if table == "ads" else ""
    return text + sections


CLOUD = """
[cloud]
grant = "client_credentials"
client_id = "service-account"
"""


# Guards, and what decides a feed's days.

GUARDED = """\
timezone = "Europe/Berlin"
valid_for = "4h"
approvers = ["anna", "bob"]
calendar = { weekend = ["Fri", "Sat"], holidays = "holidays.txt" }
expect = { by = "16:45" }
[feeds.guards]
max_move = { BID = "20%", BID_YIELD = 1.5 }
range = { BID = [0, 200.5] }
max_changed_rows = "60 %"
max_new_rics = 20
on_breach = { max_move = "reject", range = "hold" }
"""


def test_guards_are_read_exactly(tmp_path: Path) -> None:
    (tmp_path / "holidays.txt").write_text("# New Year\n2026-01-01\n\n2026-12-25 # Christmas\n")
    (feed,) = written(tmp_path, MINIMAL + GUARDED).feeds
    guards = feed.guards
    assert guards.max_move == {"BID": Limit(Decimal(20), percent=True), "BID_YIELD": Limit(Decimal("1.5"))}
    assert guards.range == {"BID": (Decimal(0), Decimal("200.5"))}
    assert (guards.max_changed_rows, guards.max_new_rics) == (Limit(Decimal(60), percent=True), Limit(Decimal(20)))
    assert guards.rejecting == {"max_move"}
    assert feed.calendar == Calendar(frozenset({4, 5}), frozenset({date(2026, 1, 1), date(2026, 12, 25)}))
    assert feed.expect == Expectation(time(16, 45), frozenset({0, 1, 2, 3, 6}))
    assert (feed.timezone, feed.valid_for_s, feed.approvers) == ("Europe/Berlin", 14400, ("anna", "bob"))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"Europe/Berlin"', '"Europe/Berlim"', 'timezone must be an IANA time zone .* "Europe/Berlin"'),
        ('["Fri", "Sat"]', '["Mon-Sun"]', "calendar.weekend must leave a day"),
        ("holidays.txt", "gone.txt", "calendar.holidays is a file that cannot be read"),
        ("16:45", "24:00", "expect.by must be a time of day that exists"),
        ('by = "16:45"', 'by = "16:45", days = "Mon-Fry"', "expect.days must be days"),
        ('by = "16:45"', 'days = "Mon"', "expect.by is required"),
        ('"20%"', '"20"', "guards.max_move.BID must be a number, or a percentage in quotes"),
        ("= 1.5", "= -1", "guards.max_move.BID_YIELD must not be below 0"),
        ("= 1.5", "= nan", "guards.max_move.BID_YIELD must be within 10.12 of 0"),
        ("[0, 200.5]", "[0, inf]", "guards.range.BID must be within 10.12 of 0"),
        ("[0, 200.5]", "[2, 1]", "guards.range.BID must have the smaller value first"),
        ("[0, 200.5]", "[1]", "guards.range.BID must be the smallest and the largest value"),
        ("= 20\n", "= 2.5\n", "guards.max_new_rics must be a whole number"),
        ('"reject"', '"stop"', 'guards.on_breach must be "hold" or "reject"'),
        ('max_move = "reject"', 'max_moves = "reject"', 'no guard; did you mean "max_move"'),
        ("max_changed_rows", "max_changed_row", 'not a known key; did you mean "max_changed_rows"'),
    ],
)
def test_problems_of_guards(old: str, new: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "holidays.txt").touch()
    assert old in GUARDED
    (found,) = problems(tmp_path, MINIMAL + GUARDED.replace(old, new))
    assert re.search(problem, found)
    assert found.startswith("line ")


def test_a_guard_of_values_needs_a_field_that_is_a_number(tmp_path: Path) -> None:
    guards = "[feeds.guards]\nmax_move = { BIDD = 1 }\nrange = { CURRENCY = [0, 1] }\n"
    settings = written(tmp_path, MINIMAL + guards)
    with pytest.raises(InvalidConfiguration) as caught:
        check_mappings(settings, load_dictionary(settings.fields))
    first, second = caught.value.problems
    assert 'max_move.BIDD is no field of the dictionary; did you mean "BID"' in first
    assert "range.CURRENCY is a field of type ENUM, which is no number" in second


# The shipped file.


def test_the_shipped_file_loads() -> None:
    settings = load(SHIPPED, {})
    assert settings.ads.simulated
    assert [feed.name for feed in settings.feeds] == ["fx", "bonds", "funds"]
    assert settings.sha256 == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    check_mappings(settings, load_dictionary(settings.fields))


def table_text(name: str) -> str:
    """The text of the first table of that name in the shipped file."""
    parts = re.split(r"(?m)^(?:# )?\[+([\w.]+)\]+$", SHIPPED.read_text())
    return parts[parts.index(name) + 1]


@pytest.mark.parametrize(
    ("name", "section", "special"),
    [
        ("ads", Ads, {"hosts", "user", "target", "position"}),
        ("state", State, {"url"}),
        ("fields", Fields, set()),
        ("log", Log, set()),
        ("feeds", Feed, {"name", "folder", "service", "columns", "ignore_columns"}),
    ],
)
def test_the_shipped_file_shows_every_key_with_its_default(
    name: str, section: type[Any], special: set[str], tmp_path: Path
) -> None:
    shipped, bare = load(Path(copy(SHIPPED, tmp_path)), {}), written(tmp_path, MINIMAL)
    values = [s.feeds[0] if name == "feeds" else getattr(s, name) for s in (shipped, bare)]
    lines = table_text(name).splitlines()
    above = dict(zip(lines, ["", *lines], strict=False))
    shown = {line.removeprefix("# ").split(" ")[0]: line for line in lines if re.match(r"(# )?\w+ = .", line)}
    with_units = {"max_age": "max_age_s", "keep": "keep_s", "valid_for": "valid_for_s", "min_free": "min_free_bytes"}
    attributes = {key: with_units.get(key, key) for key in shown}
    assert sorted(attributes.values()) == sorted(f.name for f in fields(section) if f.name != "guards")
    for key, line in shown.items():
        assert "# " in line.removeprefix("# ") or above[line].startswith("# "), f"{key} has no comment"
        if key not in special:
            assert line.startswith(key), f"{key} can stand with its default"
            assert getattr(values[0], attributes[key]) == getattr(values[1], attributes[key]), key


def test_the_shipped_file_shows_every_key_of_cloud(tmp_path: Path) -> None:
    """Without the comment signs its [cloud] can be used, and its addresses are the defaults."""
    lines = [line.removeprefix("# ") for line in table_text("cloud").splitlines() if line.startswith("# ")]
    assert [line.split(" ")[0] for line in lines] == sorted(
        (f.name for f in fields(CloudTable)), key=[line.split(" ")[0] for line in lines].index
    )
    text = with_keys(ads='hosts = ["discover"]\n', sections="[cloud]\n" + "\n".join(lines))
    bare = with_keys(
        ads='hosts = ["discover"]\n',
        sections='[cloud]\ngrant = "password"\nclient_id = "AppKey"\nusername = "GE-A-..."\nregion = "eu-west-1"\n',
    )
    assert written(tmp_path, text).cloud == written(tmp_path, bare).cloud


# Logins by token.


def test_a_login_by_token_is_over_tls_and_needs_no_user(tmp_path: Path) -> None:
    settings = written(tmp_path, MINIMAL.replace('"simulated"', '"ads1:443"').replace('user = "analyst"', "") + CLOUD)
    assert settings.ads.tls
    assert settings.ads.target == "cloud"
    assert settings.cloud is not None
    assert settings.cloud.token_url.endswith("/v2/token")


@pytest.mark.parametrize(
    ("ads", "cloud", "problem"),
    [
        ('hosts = ["simulated"]', CLOUD, "cloud must be left out: the simulated ADS in this process takes no tokens"),
        ('hosts = ["discover"]', "", 'ads.hosts may be ["discover"] only with a table [cloud]'),
        ('hosts = ["discover", "ads1:1"]', CLOUD, 'ads.hosts must be ["discover"] alone'),
        ('hosts = ["discover"]', CLOUD, 'cloud.region is required with hosts = ["discover"]'),
        ('hosts = ["ads1:1"]', CLOUD + 'username = "u"', 'cloud.username means nothing with grant = "client_cred'),
        (
            'hosts = ["ads1:1"]',
            CLOUD.replace("client_credentials", "password"),
            "cloud.username is required with grant",
        ),
        ('hosts = ["ads1:1"]', '[cloud]\ngrant = "jwt"', "cloud.client_id is required"),
        (
            'hosts = ["ads1:1"]',
            CLOUD + 'token_url = "http://x"',
            "cloud.token_url must be an address that begins with",
        ),
        ('hosts = ["ads1:1"]', CLOUD + 'discovery_url = "https://a:b@x"', "cloud.discovery_url must not hold a user"),
        ('hosts = ["ads1:1"]', CLOUD + 'password = "x"', "cloud.password is not a known key"),
        ('hosts = ["ads1:1"]', CLOUD.replace("client_credentials", "v1"), "cloud.grant must be 'password'"),
    ],
)
def test_problems_of_logins_by_token(ads: str, cloud: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, with_keys(ads=ads, sections=cloud))
    assert problem in found


@pytest.mark.parametrize(
    ("grant", "name"),
    [("password", "PASSWORD"), ("client_credentials", "CLIENT_SECRET"), ("jwt", "JWK")],
)
def test_the_secret_comes_from_the_environment_and_is_not_shown(grant: str, name: str, tmp_path: Path) -> None:
    user = 'username = "u"' if grant == "password" else ""
    text = with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD.replace("client_credentials", grant) + user)
    (tmp_path / "secret").write_text("s3cret\n")
    for environ in ({name: "s3cret"}, {f"{name}_FILE": str(tmp_path / "secret")}):
        settings = written(tmp_path, text, {f"CONTRIB_WATCH_CLOUD_{key}": value for key, value in environ.items()})
        assert settings.cloud is not None
        assert with_secret(settings.cloud).secret == "s3cret"
        assert "s3cret" not in repr(settings)
    with pytest.raises(ConfigurationError, match="nowhere: cannot be read"):
        written(tmp_path, text, {f"CONTRIB_WATCH_CLOUD_{name}_FILE": "nowhere"})


def test_a_secret_in_the_keyring(tmp_path: Path) -> None:
    keyring = pytest.importorskip("keyring")
    before = keyring.get_keyring()  # before there is another that could be the best

    class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return {("contrib_watch", "CONTRIB_WATCH_CLOUD_CLIENT_SECRET"): "s3cret"}.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise AssertionError("nothing is to be written")

    settings = written(tmp_path, with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD))
    keyring.set_keyring(Backend())
    try:
        assert settings.cloud is not None
        assert with_secret(settings.cloud).secret == "s3cret"
    finally:
        keyring.set_keyring(before)


def test_a_secret_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # nobody is asked
    settings = written(tmp_path, with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD))
    assert settings.cloud is not None  # commands that do not log in need no secret
    with pytest.raises(ConfigurationError, match="Set CONTRIB_WATCH_CLOUD_CLIENT_SECRET or"):
        with_secret(settings.cloud)


def test_a_secret_that_is_no_text_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = with_keys(ads='hosts = ["ads1:1"]', sections=CLOUD)
    name = "CONTRIB_WATCH_CLOUD_CLIENT_SECRET"
    with pytest.raises(ConfigurationError, match=f"{name}: is not UTF-8") as caught:
        written(tmp_path, text, {name: "caf\udce9-s3cret"})
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_the_shipped_file_shows_every_guard_and_sets_none(tmp_path: Path) -> None:
    shipped = load(Path(copy(SHIPPED, tmp_path)), {})
    assert [feed.guards for feed in shipped.feeds] == [Guards()] * 3
    shown = re.findall(r"(?m)^# (\w+) = ", table_text("feeds.guards"))
    assert shown == [*RULES, "on_breach"]
    settings = written(tmp_path, SHIPPED.read_text().replace("\n# max_", "\nmax_"))
    assert settings.feeds[0].guards.max_move["BID"] == Limit(Decimal(20), percent=True)


def test_only_the_required_keys_are_needed_and_the_rest_is_the_default(tmp_path: Path) -> None:
    settings = written(tmp_path, MINIMAL)
    assert settings == Settings(
        path=tmp_path / "config.toml",
        ads=Ads(hosts=("simulated",), target="simulated", user="analyst"),
        state=State(folder=tmp_path / ".contrib_watch", url=f"sqlite:///{tmp_path}/.contrib_watch/state.db"),
        fields=Fields(),
        log=Log(),
        feeds=(Feed(name="fx", folder=tmp_path / "inbox/fx", service="NIPROV"),),
        sha256=hashlib.sha256(MINIMAL.encode()).hexdigest(),
    )
    assert settings.ads == Ads(
        hosts=("simulated",), target="simulated", user="analyst", app_id="256", position="", user_id=0, tls=False,
        ca_file=None, window=256, pack=1, rate_limit=500, ack_timeout_s=15, retries=3, connect_timeout_s=30,
        proxy="",
    )  # fmt: skip


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    settings = written(
        tmp_path,
        """
        [ads]
        hosts = ["ads1:15000", "[::1]:443"]
        target = "uat"
        user = "dacs"
        app_id = "255"
        position = "10.44.12.152"
        user_id = 7408
        tls = true
        ca_file = "ca.pem"
        proxy = "http://[::1]:3128/"
        window = 10000
        pack = 100
        rate_limit = 0
        ack_timeout_s = 0.5
        retries = 0
        connect_timeout_s = 1
        [state]
        folder = "/var/lib/cw"
        [fields]
        dictionary = ["RDMFieldDictionary", "/etc/enumtype.def"]
        [log]
        level = "debug"
        format = "json"
        [[feeds]]
        name = "funds"
        folder = "../inbox"
        service = "8001"
        patterns = ["nav_*.csv"]
        sheet = "Prices"
        header_row = 3
        ric_column = "Instrument"
        columns = { "Bid Price" = "BID", "Währung" = "CURRENCY" }
        ignore_columns = ["Comment"]
        encoding = "cp1252"
        delimiter = "\\t"
        decimal = ","
        thousands = "."
        date_format = "%d.%m.%Y"
        percent = "points"
        final_newline = "optional"
        blank = ["-"]
        clear_token = "CLEAR"
        complete = true
        observer = "polling"
        settle_seconds = 0
        max_age = "2 weeks"
        ric_pattern = "*[.=]ACME"
        max_rows = 1
        max_bytes = "1KB"
        report_folder = "reports"
        """,
    )
    assert settings.ads == Ads(
        hosts=("ads1:15000", "[::1]:443"), target="uat", user="dacs", app_id="255", position="10.44.12.152",
        user_id=7408, tls=True, ca_file=tmp_path / "ca.pem", window=10000, pack=100, rate_limit=0, ack_timeout_s=0.5,
        retries=0, connect_timeout_s=1, proxy="http://[::1]:3128",
    )  # fmt: skip
    assert settings.state == State(folder=Path("/var/lib/cw"), url="sqlite:////var/lib/cw/state.db")
    assert settings.fields.dictionary == (tmp_path / "RDMFieldDictionary", Path("/etc/enumtype.def"))
    assert settings.log == Log(level="debug", format="json")
    assert settings.feeds == (
        Feed(
            name="funds", folder=tmp_path / "../inbox", service="8001", patterns=("nav_*.csv",), sheet="Prices",
            header_row=3, ric_column="Instrument", columns={"Bid Price": "BID", "Währung": "CURRENCY"},
            ignore_columns=("Comment",), encoding="cp1252", delimiter="\t", decimal=",", thousands=".",
            date_format="%d.%m.%Y", percent="points", final_newline="optional", blank=("-",),
            clear_token="CLEAR", complete=True, observer="polling", settle_seconds=0, max_age_s=14 * 86400,
            ric_pattern="*[.=]ACME", max_rows=1, max_bytes=1024, report_folder=tmp_path / "reports",
        ),
    )  # fmt: skip


# Problems: all at once, each with line, key and what to do.


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
[ads]
hosts = ["ads1"]
windw = 3
pack = 0
[log]
level = "loud"
[[feeds]]
name = "bonds"
folder = "inbox"
[[feeds]]
name = "bonds "
folder = "inbox2"
service = "S"
decimal = ","
settle_seconds = -1
  [feeds.columns]
  "Bid Price" = "Bid"
[[feeds]]
name = "fx"
folder = "./inbox2"
service = "S"
[archive]
"""
    assert problems(tmp_path, text) == (
        "line 1, ads.user is required",
        'line 2, ads.hosts[1] must be "host:port", such as "ads1.example.com:15000" (it is "ads1")',
        'line 3, ads.windw is not a known key; did you mean "window"?',
        "line 4, ads.pack must be greater than or equal to 1 (it is 0)",
        "line 6, log.level must be 'debug', 'info', 'warning' or 'error' (it is \"loud\")",
        "line 7, feeds[1].service is required",
        "line 11, feeds[2].name must be 1 to 64 letters, digits, hyphens, underscores or dots, beginning with a "
        'letter or digit: it stands in file names and on command lines (it is "bonds ")',
        "line 15, feeds[2].settle_seconds must be greater than or equal to 0 (it is -1)",
        'line 17, feeds[2].columns."Bid Price" must be a field acronym in capital letters, such as "BID" or '
        '"TRDPRC_1" (it is "Bid")',
        "line 22, archive is not a known key; known are ads, cloud, state, fields, log, feeds",
    )


def test_the_text_has_one_line_for_each_problem_and_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        written(tmp_path, with_keys(ads="window = 0\nretries = -1"))
    first, *lines = str(caught.value).split("\n")
    assert first == f"{tmp_path / 'config.toml'}: 2 problems"
    assert [line.strip() for line in lines] == list(caught.value.problems)  # type: ignore[attr-defined]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("hosts = []", "ads.hosts must not be empty"),
        ('hosts = "simulated"', 'ads.hosts must be a list, such as ["a", "b"] (it is "simulated")'),
        ('hosts = ["wss://ads1:15000/WebSocket"]', 'without a scheme: "ads1:15000"'),
        ('hosts = ["ads1:0"]', "has a port outside 1 to 65535"),
        ('hosts = ["ads1:65536"]', "has a port outside 1 to 65535"),
        ('hosts = ["ads1:１５０００"]', 'must be "host:port"'),
        ('hosts = ["ads 1:15000"]', 'must be "host:port"'),
        ('hosts = ["simulated", "ads1:15000"]', 'ads.hosts must be ["simulated"] alone, or real hosts alone'),
        ('target = "prod"', 'ads.target must be "simulated", or left out, with hosts = ["simulated"]'),
        ('hosts = ["ads1:1"]\ntarget = "simulated"', 'ads.target must not be "simulated" with real hosts'),
        ('user = ""', "ads.user must be printable ASCII text, not empty"),
        ("app_id = 256", "ads.app_id must be text in quotes (it is 256)"),
        ('app_id = "none"', "ads.app_id must be a whole number from 1 to 65535 in quotes"),
        ('position = "10.1.2.3 "', "ads.position must be printable ASCII"),
        ("user_id = 4294967296", "ads.user_id must be less than 4294967296"),
        ("tls = 1", "ads.tls must be true or false (it is 1)"),
        ("tls = true", "ads.tls must be false: the simulated ADS"),
        ('ca_file = "ca.pem"', "ads.ca_file is used with tls = true only"),
        ('hosts = ["a:1"]\ntls = true\nca_file = "no.pem"', "ads.ca_file is not a file: "),
        ("window = true", "ads.window must be a whole number (it is true)"),
        ("window = 10001", "ads.window must be less than or equal to 10000"),
        ("window = 10.0", "ads.window must be a whole number"),
        ("window = 5\npack = 6", "ads.pack must not be above window, which is 5"),
        ("pack = 101", "ads.pack must be less than or equal to 100"),
        ("rate_limit = -1", "ads.rate_limit must be greater than or equal to 0"),
        ('proxy = "proxy:3128"', 'ads.proxy must be "http://host:port", or empty: without a proxy'),
        ('proxy = "http://proxy"', 'ads.proxy must be "host:port"'),
        ('proxy = "http://me:secret@proxy:1"', "ads.proxy must not hold a user or password"),
        ('hosts = ["simulated"]\nproxy = "http://proxy:1"', "ads.proxy must be empty: the simulated ADS"),
        ("ack_timeout_s = 0", "ads.ack_timeout_s must be greater than 0"),
        ("ack_timeout_s = inf", "ads.ack_timeout_s must be a finite number"),
        ("connect_timeout_s = '30'", "ads.connect_timeout_s must be a number"),
        ("retries = -1", "ads.retries must be greater than or equal to 0"),
        ("ack_timeout = 3", 'ads.ack_timeout is not a known key; did you mean "ack_timeout_s"?'),
        ("simulated = true", "ads.simulated is not a known key"),
    ],
)
def test_problems_of_ads(keys: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, with_keys(ads=keys))
    assert problem in found


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('name = ""', "feeds[1].name must be 1 to 64 letters"),
        ('name = "../fx"', "feeds[1].name must be 1 to 64 letters"),
        ('name = "-x"', "feeds[1].name must be 1 to 64 letters"),
        ('folder = ""', "feeds[1].folder must be a path, not empty"),
        ('folder = "."', "feeds[1].folder must be a path, not empty"),
        ('folder = "./.contrib_watch"', "feeds[1].folder is state.folder"),
        ('service = " "', "feeds[1].service must be printable ASCII"),
        ("patterns = []", "feeds[1].patterns must not be empty"),
        ('patterns = ["*.csv", ""]', "feeds[1].patterns[2] must be a file name pattern"),
        ('patterns = ["in/*.csv"]', "feeds[1].patterns[1] must be a file name pattern"),
        ("header_row = 0", "feeds[1].header_row must be greater than or equal to 1"),
        ('ric_column = " RIC"', "feeds[1].ric_column must be a column header without spaces"),
        ('columns = { "Bid " = "BID" }', 'feeds[1].columns."Bid " must be a column header without spaces'),
        ('columns = { "Bid" = "bid" }', "feeds[1].columns.Bid must be a field acronym in capital letters"),
        ('columns = { "Bid" = "BID PRICE" }', "feeds[1].columns.Bid must be a field acronym"),
        ('columns = { A = "BID", B = "BID" }', 'feeds[1].columns.B maps to BID, as "A" does already'),
        ('columns = { "RIC" = "DSPLY_NAME" }', "feeds[1].columns.RIC is the ric_column"),
        ('columns = ["BID"]', 'feeds[1].columns must be a table, such as { "Bid Price" = "BID" }'),
        ('ignore_columns = ["RIC"]', 'feeds[1].ignore_columns holds "RIC", which is the ric_column'),
        (
            'ignore_columns = ["A"]\ncolumns = { A = "BID" }',
            'feeds[1].ignore_columns holds "A", which columns maps to BID',
        ),
        ('encoding = "cp-1252"', 'feeds[1].encoding is no text encoding that Python knows; did you mean "'),
        ('encoding = "rot13"', "feeds[1].encoding is no text encoding"),
        ('encoding = "unicode_escape"', "feeds[1].encoding is no text encoding"),
        ('delimiter = ""', "feeds[1].delimiter must be one character"),
        ('delimiter = ";;"', "feeds[1].delimiter must be one character"),
        ("delimiter = '\"'", "feeds[1].delimiter must be one character"),
        ('delimiter = "."', 'feeds[1].delimiter must not be the decimal mark "."'),
        ('decimal = ","', 'feeds[1].delimiter must not be the decimal mark ","; perhaps ";"?'),
        ('decimal = ";"', "feeds[1].decimal must be '.' or ','"),
        ('thousands = "."', 'feeds[1].thousands must not be the decimal mark "."'),
        ('thousands = "0"', "feeds[1].thousands must be a comma, a point"),
        ('percent = "percent"', "feeds[1].percent must be '', 'fraction' or 'points'"),
        ('ric_pattern = "[z-a]"', "feeds[1].ric_pattern is no shell-style pattern: a range in brackets"),
        ('service = "SET-ME"', "feeds[1].service must be set: the Service to post to"),
        ('date_format = "%d.%m.%y"', 'feeds[1].date_format must not have "%y"'),
        ('date_format = "%d.%m"', "feeds[1].date_format must be strptime's notation"),
        ('date_format = "DD.MM.YYYY"', "feeds[1].date_format must be strptime's notation"),
        ('final_newline = "no"', "feeds[1].final_newline must be 'required' or 'optional'"),
        ('blank = "-"', "feeds[1].blank must be a list"),
        ('blank = ["#CLEAR"]', 'feeds[1].blank must not hold the clear_token "#CLEAR"'),
        ('clear_token = ""', "feeds[1].clear_token must not be empty"),
        ('complete = "yes"', "feeds[1].complete must be true or false"),
        ('observer = "inotify"', "feeds[1].observer must be 'auto', 'native' or 'polling'"),
        ("settle_seconds = nan", "feeds[1].settle_seconds must be a finite number"),
        ('done_marker = "*.done"', 'feeds[1].done_marker must be the end of a file name such as ".done"'),
        ('done_marker = "/x"', "feeds[1].done_marker must be the end of a file name"),
        ('done_marker = ".CSV"', 'feeds[1].done_marker must not be the ending of the pattern "*.csv"'),
        ('max_age = "7 fortnights"', 'feeds[1].max_age must be seconds, or text such as "7d"'),
        ("max_age = 0", "feeds[1].max_age must be greater than 0"),
        ("max_age_s = 3", 'feeds[1].max_age_s is not a known key; did you mean "max_age"?'),
        ("max_rows = 0", "feeds[1].max_rows must be greater than or equal to 1"),
        ('max_bytes = "256 megs"', "feeds[1].max_bytes must be bytes, or text"),
        ('max_bytes = "0MB"', "feeds[1].max_bytes must be greater than or equal to 1"),
        ("report_folder = 3", "feeds[1].report_folder must be text in quotes"),
        ("settle_secs = 3", 'feeds[1].settle_secs is not a known key; did you mean "settle_seconds"?'),
    ],
)
def test_problems_of_a_feed(keys: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, with_keys(feed=keys))
    assert problem in found


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ('name = "FX"\nfolder = "other"', 'feeds[2].name "FX" is taken by feeds[1] (fx)'),
        (
            'name = "b"\nfolder = "x/../inbox/fx"\npatterns = ["FX_*.CSV"]',
            "feeds[2].folder is the folder of feeds[1] (fx) too, "
            'and a file could match both patterns "*.csv" and "FX_*.CSV"',
        ),
        (
            'name = "b"\nfolder = "b"\nreport_folder = "inbox/fx"',
            "feeds[2].report_folder is the folder of feeds[1] (fx)",
        ),
    ],
)
def test_two_feeds_keep_out_of_each_others_way(second: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, MINIMAL + f'[[feeds]]\nservice = "S"\n{second}\n')
    assert problem in found


def test_a_service_is_posted_to_in_one_way(tmp_path: Path) -> None:
    second = '[[feeds]]\nname = "b"\nfolder = "b"\nposting = "on-stream"\nservice = '
    (found,) = problems(tmp_path, f'{MINIMAL}{second}"NIPROV"\n')
    assert 'feeds[2].posting must be "off-stream" as in feeds[1] (fx), which posts to the same Service' in found
    assert [feed.posting for feed in written(tmp_path, f'{MINIMAL}{second}"S"\n').feeds] == [
        "off-stream",
        "on-stream",
    ]


def test_two_feeds_may_share_a_folder_when_no_file_can_be_both_theirs(tmp_path: Path) -> None:
    second = '[[feeds]]\nservice = "S"\nname = "b"\nfolder = "inbox/fx"\npatterns = ["*.txt"]\n'
    assert len(written(tmp_path, MINIMAL + second).feeds) == 2


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ('[state]\nfolder = ""', "state.folder must be a path"),
        ('[state]\nurl = "state.db"', "state.url must be a database URL"),
        ('[state]\nurl = "sqlite://"', "state.url must name a file"),
        ('[state]\nurl = "sqlite:///:memory:"', "state.url must name a file"),
        ('[state]\nurl = "postgresql://cw:secret@db/cw"', "state.url must be of SQLite"),
        ('[state]\nurl = "sqlite+aiosqlite:///state.db"', "state.url must be of SQLite"),
        ('[fields]\ndictionary = ["RDMFieldDictionary"]', "fields.dictionary must name two files"),
        ('[log]\nformat = "xml"', "log.format must be 'text' or 'json'"),
        ("[stat]", 'stat is not a known key; did you mean "state"?'),
        ("[clouds]", 'clouds is not a known key; did you mean "cloud"?'),
        ("[[log]]", "log must be a table of keys"),
    ],
)
def test_problems_of_the_other_sections(sections: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, with_keys(sections=sections))
    assert problem in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ("", "feeds is required: add a [[feeds]] table"),
        ("feeds = []", "feeds is required"),
        ('[feeds]\nname = "fx"', "feeds must be written [[feeds]], in double brackets"),
    ],
)
def test_feeds_are_a_list_of_tables(feeds: str, problem: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'{feeds}\nads = {{ hosts = ["simulated"], user = "u" }}' if "=" in feeds[:8] else
                        f'[ads]\nhosts = ["simulated"]\nuser = "u"\n{feeds}')  # fmt: skip
    assert problem in found


def test_a_section_that_is_no_table(tmp_path: Path) -> None:
    assert "line 1, ads must be a table of keys, not 3" in problems(tmp_path, "ads = 3\n" + MINIMAL.split("\n\n")[1])


def test_lines_are_those_of_the_key_however_it_is_written(tmp_path: Path) -> None:
    text = MINIMAL + '\n"window" = 3\n[ feeds.columns ]\n\'Bid Price\' = "bid"\n[log]\n"level" = 3\n'
    found = problems(tmp_path, text)
    for problem in found:
        line, key = re.match(r"line (\d+), (\S+)", problem).groups()  # type: ignore[union-attr]
        assert key.rsplit(".", 1)[-1].strip('"').split(" ")[0] in text.split("\n")[int(line) - 1]
    assert len(found) == 3


def test_keys_in_an_inline_table_have_the_line_of_the_table(tmp_path: Path) -> None:
    text = 'feeds = [\n{ name = "fx", folder = "f" },\n]\n[ads]\nhosts = ["simulated"]\nuser = "u"\n'
    assert problems(tmp_path, text) == ("line 1, feeds[1].service is required",)


# Files that are not a configuration.


def test_a_syntax_error_has_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.toml: is not TOML: .*\(at line 2, column 9\)"):
        written(tmp_path, "[ads]\nhosts = \n")


@pytest.mark.parametrize("path", [r"C:\prices", r"C:\Users\fx"])
def test_a_windows_path_in_double_quotes_is_explained(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Write Windows paths in single quotes"):
        written(tmp_path, f'[[feeds]]\nfolder = "{path}"\n')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no\.toml: cannot be read: No such file"):
        load(tmp_path / "no.toml", {})


def test_other_encodings_are_refused_with_the_line_and_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"# a comment\n# W\xe4hrung\n")
    with pytest.raises(ConfigurationError, match="line 2 is not UTF-8"):
        load(path, {})
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(path, {}).feeds[0].name == "fx"


# Values.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0.5", 0.5), ('"7d"', 604800), ('"7 days"', 604800), ('"36h"', 129600), ('"1 week"', 604800),
     ('"90 minutes"', 5400), ('"15min"', 900), ('"15m"', 900), ('"1.5 h"', 5400), ('"30s"', 30)],
)  # fmt: skip
def test_max_age(text: str, seconds: float, tmp_path: Path) -> None:
    assert written(tmp_path, with_keys(feed=f"max_age = {text}")).feeds[0].max_age_s == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ('"256MB"', 2**28), ('"1 GB"', 2**30), ('"2KiB"', 2048), ('"77B"', 77)]
)
def test_max_bytes(text: str, size: int, tmp_path: Path) -> None:
    assert written(tmp_path, with_keys(feed=f"max_bytes = {text}")).feeds[0].max_bytes == size


def test_paths_are_relative_to_the_file_wherever_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/config.toml").write_text(
        with_keys(feed='report_folder = "reports"', sections='[state]\nurl = "sqlite:///db/state.db"')
    )
    monkeypatch.chdir(tmp_path)
    settings = load(Path("site/config.toml"), {})
    assert settings.path == tmp_path / "site/config.toml"
    assert settings.feeds[0].folder == tmp_path / "site/inbox/fx"
    assert settings.feeds[0].report_folder == tmp_path / "site/reports"
    assert settings.state.folder == tmp_path / "site/.contrib_watch"
    assert settings.state.url == f"sqlite:///{tmp_path}/site/db/state.db"


def test_the_target_of_real_hosts_is_default(tmp_path: Path) -> None:
    ads = written(tmp_path, with_keys(ads='hosts = ["ads1:15000", "ads2:15000"]')).ads
    assert (ads.target, ads.simulated) == ("default", False)


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("ads", 'proxy = "http://me:s3cr\\"et/@proxy:1"'),
        ("ads", 'proxy = "me:s3cret@proxy:1"'),
        ("ads", 'proxy = ["http://me:s3cret@proxy:1"]'),
        ("ads", 'hosts = ["wss://me:s3cret@ads1:15000"]'),
        ("cloud", 'token_url = "https://me:s3cret@host/token"'),
        ("cloud", 'discovery_url = "http://me:s3cret@host/"'),
        ("state", 'url = "postgresql://me:s3cret@db/cw"'),
        ("state", 'url = "postgresql://db/cw?user=me&password=s3cret"'),
        ("state", 'url = ["postgresql://me:s3cret@db/cw"]'),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_shown(section: str, keys: str, tmp_path: Path) -> None:
    text = with_keys(ads=keys) if section == "ads" else with_keys(sections=f"[{section}]\n{keys}")
    found = "\n".join(problems(tmp_path, text))
    assert keys.partition(" ")[0] in found
    assert "s3cr" not in found
    assert "et" not in re.findall("[a-z0-9]+", found)


# Promises.

_PATTERNS = st.text(alphabet="ab.*?", min_size=1, max_size=6)


@given(one=_PATTERNS, other=_PATTERNS, name=st.text(alphabet="ab.", max_size=6))
def test_patterns_that_one_name_matches_overlap(one: str, other: str, name: str) -> None:
    if fnmatchcase(name, one) and fnmatchcase(name, other):
        assert _overlap(one, other)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [("*.csv", "*.xlsx", False), ("*.csv", "FX*.CSV", True), ("a*b", "*c", False), ("a*", "*b", True),
     ("a?c", "a[bx]c", True), ("ab", "abc", False), ("*", "?", True), ("fx_*.csv", "bonds_*.csv", False)],
)  # fmt: skip
def test_overlap_is_exact_without_brackets(one: str, other: str, overlap: bool) -> None:
    assert _overlap(one, other) is _overlap(other, one) is overlap


# The field dictionary.


@pytest.mark.parametrize("names", [("RDMFieldDictionary", "enumtype.def"), ("enumtype.def", "RDMFieldDictionary")])
def test_the_sites_dictionary_is_read_in_any_order_whatever_the_names(names: tuple[str, str], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        copy(DATA / name, tmp_path / str(number))
    dictionary = load_dictionary(Fields(dictionary=(tmp_path / "0", tmp_path / "1")))
    assert dictionary == load_dictionary(Fields())
    bid = dictionary.get("BID")
    assert bid is not None
    assert bid.fid == 22


def test_dictionary_files_that_are_missing_or_of_one_kind_are_refused(tmp_path: Path) -> None:
    file = DATA / "RDMFieldDictionary"
    with pytest.raises(ConfigurationError, match="one must list fields"):
        load_dictionary(Fields(dictionary=(file, file)))
    with pytest.raises(ConfigurationError, match="no: cannot be read: No such file"):
        load_dictionary(Fields(dictionary=(file, tmp_path / "no")))


def test_mappings_to_unknown_fields_are_all_named_with_the_nearest(tmp_path: Path) -> None:
    settings = written(tmp_path, with_keys(feed='columns = { A = "BIDD", B = "ASK", C = "RIC", D = "QQQQQQ" }'))
    with pytest.raises(InvalidConfiguration) as caught:
        check_mappings(settings, load_dictionary(Fields()))
    assert caught.value.problems == (
        'feeds[1].columns.A "BIDD" is no field of the dictionary; did you mean "BID"?',
        'feeds[1].columns.C is no field of the dictionary; for the column with the RICs set ric_column = "C"',
        'feeds[1].columns.D "QQQQQQ" is no field of the dictionary',
    )


_VALUES = st.sampled_from(
    ["0", "-1", "1e400", "nan", "true", '""', '"x"', '"\\u0000"', "[]", "[1]", '["a", 2]', "{}", "{ a = 1 }",
     '{ a.b = "c" }', "2026-11-22", "12:30:00", "9223372036854775807", '"1d"', "[[]]", '"sqlite:///%2F:x"', '"*"']
)  # fmt: skip
_KEYS = sorted({f.name for section in (Ads, State, Fields, Log, Feed) for f in fields(section)} | {"max_age", "x"})


@given(
    sections=st.dictionaries(
        st.sampled_from(["ads", "state", "fields", "log", "[feeds]", "other"]),
        st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=8),
    )
)
def test_whatever_a_key_holds_is_read_or_explained(
    sections: dict[str, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = "".join(
        f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in sections.items()
    )
    with pytest.raises(InvalidConfiguration) as caught:  # never whole: no value above is a host
        written(tmp_path_factory.getbasetemp(), text)
    lines = text.split("\n")
    for problem in caught.value.problems:
        place = re.match(r"(?:line (\d+), )?([\w.[\]]+)", problem)
        assert place
        if place[1]:
            line, keys = lines[int(place[1]) - 1], re.sub(r"\[\d+]", "", place[2]).split(".")[-2:]
            # A key that an inline table lacks has the table's line.
            assert any(key in line for key in keys) or line.startswith("[")
