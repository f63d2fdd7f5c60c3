"""Every problem of a config.toml at once, each with its line, key and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from written_config import MINIMAL, problems, with_keys, written

from contrib_watch.config import load
from contrib_watch.errors import ConfigurationError


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
