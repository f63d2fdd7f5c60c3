"""config.toml -> Settings: the shipped file, its defaults, values and paths, and the dictionary that it names."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_config import DATA, MINIMAL, SHIPPED, problems, with_keys, written

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
from contrib_watch.config.settings import CloudTable
from contrib_watch.core.limits import RULES, Guards, Limit
from contrib_watch.core.model import Feed
from contrib_watch.errors import ConfigurationError

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
