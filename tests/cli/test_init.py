"""``init`` on sheets that it has never seen, and the declarations that ``preview`` hints at."""

from __future__ import annotations

import io
import json
import os
import tomllib
import zipfile
from datetime import date
from pathlib import Path, PurePath

import pyarrow as pa
import pytest
from cli_site import Site, ads, held
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from contrib_watch.cli import main
from contrib_watch.cli.proposing import block
from contrib_watch.config import Fields, InvalidConfiguration, Settings, load, load_dictionary
from contrib_watch.core.model import Cells, Feed
from contrib_watch.core.proposal import propose
from contrib_watch.core.settle import candidate

SAMPLES = Path(__file__).parents[2] / "sample_data"
ADS = '[ads]\nhosts = ["simulated"]\nuser = "tester"\n\n'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no configuration lies."""
    monkeypatch.chdir(tmp_path)


def init(file: Path, *args: str) -> str:
    done = CliRunner().invoke(main, ["init", str(file), *args])
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


def finished(home: Path, text: str, service: str = "NIPROV") -> Settings:
    """The configuration with a proposed block whose Service somebody has set."""
    path = home / "finished.toml"
    path.write_text(ADS + text.replace('service = "SET-ME"', f'service = "{service}"'), encoding="utf-8")
    return load(path, {})


def german_workbook(path: Path) -> None:
    """Somebody else's layout: a cover sheet, titles, two header rows, German numbers and dates, percent cells."""
    book = Workbook()
    book.active.title = "Deckblatt"
    book.active["A1"] = "Kursblatt Rentenhandel"
    sheet = book.create_sheet("Rentenkurse")
    sheet.append(["Bankhaus Beispiel – Rentenhandel"])
    sheet.append(["Stand: 20.11.2026, 17:00 Uhr"])
    sheet.append([])
    sheet.append(["Wertpapier", None, None, "Konditionen", None, "Kurse", None, "Renditen", None, "Stand", None])
    for area in ("A4:C4", "D4:E4", "F4:G4", "H4:I4", "J4:K4"):
        sheet.merge_cells(area)
    sheet.append(
        ["Reuters-Code", "ISIN", "Emittent", "Kupon %", "Fälligkeit", "Geldkurs", "Briefkurs", "Rendite Geld",
         "Rendite Brief", "Kursdatum", "Anmerkung"]
    )  # fmt: skip
    today, yesterday = date(2026, 11, 20), date(2026, 11, 19)
    for row in (
        ["A=BEIS", "DE000A000017", "Land", "2,500", "15.03.2031", "98,75", "98,95", 0.02715, 0.0268, today, "-"],
        ["B=BEIS", "DE000A000025", "Stadt", "3,125", "01.07.2029", "101,4", "101,55", 0.0252, 0.02471, today, None],
        ["C=BEIS", "DE000A000033", "Wasser", "0,000", "30.11.2035", "1.024,50", "1.025,25", 0.0301, 0.03, today, "-"],
        ["D=BEIS", "DE000A000041", "Kraft", "4,750", "12.12.2027", "k.A.", "103,1", 0.0199, 0.0195, yesterday, "-"],
    ):
        sheet.append(row)
    for row in sheet.iter_rows(min_row=6, min_col=8, max_col=9):
        for cell in row:
            cell.number_format = "0.00%"
    book.save(path)


# the block


@pytest.mark.parametrize(
    ("sample", "least"),
    [
        ("bonds/bond_evaluations_2026-11-20.xlsx", 11),
        ("funds/fund_navs_2026-11-20.csv", 5),
        ("fx/fx_fixing_2026-11-20.csv", 6),
    ],
)
def test_the_samples_are_proposed_much_as_they_are_configured(sample: str, least: int, tmp_path: Path) -> None:
    (feed,) = finished(tmp_path, init(SAMPLES / sample)).feeds
    (shipped,) = [one for one in load(SAMPLES.parent / "config.toml", {}).feeds if one.name == sample.split("/")[0]]
    for key in ("header_row", "ric_column", "encoding", "delimiter", "decimal", "thousands", "date_format", "blank"):
        assert getattr(feed, key) == getattr(shipped, key), key
    assert len(feed.columns.items() & shipped.columns.items()) >= least
    assert feed.ignore_columns == shipped.ignore_columns


def test_the_service_must_be_set_by_a_person(tmp_path: Path) -> None:
    text = init(SAMPLES / "fx/fx_fixing_2026-11-19.csv")
    with pytest.raises(InvalidConfiguration) as error:
        finished(tmp_path, text, service="SET-ME")
    assert len(error.value.problems) == 1
    assert "service must be set" in error.value.problems[0]


def test_a_configuration_gives_the_service_and_the_names_that_are_taken(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(ADS + '[[feeds]]\nname = "fx_fixing"\nfolder = "in"\nservice = "DESK"\n')
    before = config.read_bytes()
    text = tomllib.loads(init(SAMPLES / "fx/fx_fixing_2026-11-19.csv", "--config", str(config)))
    assert (text["feeds"][0]["service"], text["feeds"][0]["name"]) == ("DESK", "fx_fixing_2")
    assert config.read_bytes() == before


def test_the_block_is_toml_whatever_the_sheet_holds(tmp_path: Path) -> None:
    file = tmp_path / 'we"ird\n[[feeds]] 2026.csv'
    file.write_text('RIC,"Bid ""A"" \\ x\nname = 1",Bid\x7f,Ask\nA=X,1,2\x01,"a\nb = 2"\n', encoding="utf-8")
    text = init(file)
    (feed,) = finished(tmp_path, text).feeds
    assert set(feed.columns) | set(feed.ignore_columns) == {'Bid "A" \\ x\nname = 1', "Bid\x7f", "Ask"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(max_size=8).filter(lambda name: name != "SET-ME")  # hypothesis tries the product's own constants
        | st.sampled_from(["RIC", "Geld", "Datum", "NAV"]),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    texts=st.lists(
        st.text(max_size=6) | st.sampled_from(["A=X", "1,5", "3%", "n/a", "03/04/2026", "#N/A"]), max_size=15
    ),
)
def test_whatever_the_cells_are_the_block_is_read_by_the_configuration(
    names: list[str], texts: list[str], tmp_path: Path
) -> None:
    width = len(names)
    rows = [texts[start : start + width] for start in range(0, len(texts) - width + 1, width)]
    columns = tuple(pa.array([row[column] for row in rows], pa.string()) for column in range(width))
    header = tuple(name.strip(" \ufeff") for name in names)
    cells = Cells("", header, 1, columns, None, pa.array(range(2, len(rows) + 2), pa.int64()))
    feed = Feed(name="desk", folder=PurePath("inbox"), service="SET-ME", patterns=("*.csv",), delimiter=";")
    text = block("any\nname.csv", propose(cells, feed, load_dictionary(Fields())))
    (read,) = finished(tmp_path, text).feeds
    assert {*read.columns, *read.ignore_columns, read.ric_column} <= {*header, "SET-ME"}


def test_a_csv_of_windows_with_titles_above(tmp_path: Path) -> None:
    file = tmp_path / "kurse.csv"
    file.write_bytes("Tageskurse\r\n\r\nRIC;Währung;Geld\r\nA=X;EUR;1,5\r\nB=X;USD;2,25".encode("cp1252"))
    text = init(file)
    (feed,) = finished(tmp_path, text).feeds
    assert (feed.encoding, feed.delimiter, feed.decimal, feed.header_row) == ("cp1252", ";", ",", 3)
    assert feed.columns == {"Währung": "CURRENCY", "Geld": "BID"}
    assert "# doubt: the last line has no line end" in text
    assert "# doubt: the bytes are not UTF-8" in text


@pytest.mark.parametrize("name", ["prices", "Prices [old]"])
def test_a_file_without_an_ending_is_proposed_by_its_own_name_with_a_doubt(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text("RIC,Bid\nA=X,1\n")
    text = init(file)
    (feed,) = finished(tmp_path, text).feeds
    assert candidate(name, feed.patterns) == ""
    assert candidate("5A3F2B10", feed.patterns) != ""
    assert "# doubt: the file's name has no ending" in text


def test_a_name_that_is_never_taken_is_a_doubt(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv.part"
    file.write_text("RIC,Bid\nA=X,1\n")
    assert "# doubt: a file of this name is never taken: a temporary file (.part)" in init(file)


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_init_and_preview_refuse_a_pipe(site: Site) -> None:
    pipe = site.home / "prices.csv"
    os.mkfifo(pipe)
    for done in (CliRunner().invoke(main, ["init", str(pipe)]), preview(site, pipe)):
        assert (done.exit_code, done.stdout) == (3, "")
        assert "prices.csv: it is not a regular file" in done.stderr


@pytest.mark.parametrize(
    ("name", "content"), [("a.xlsx", b"%PDF-1.7"), ("a.csv", b"PK\x03\x04"), ("b.xlsx", b"PK\x03\x04")]
)
def test_what_is_no_sheet_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    done = CliRunner().invoke(main, ["init", str(tmp_path / name)])
    assert done.exit_code == 3
    assert name in done.stderr
    assert done.stdout == ""


def unpacking_to(size_bytes: int) -> bytes:
    """A small workbook whose sheet has so many blanks."""
    book, content = Workbook(), io.BytesIO()
    book.active.append(["RIC", "BID"])
    book.save(content)
    hostile = io.BytesIO()
    with zipfile.ZipFile(content) as plain, zipfile.ZipFile(hostile, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in plain.namelist():
            blanks = b" " * size_bytes if name == "xl/worksheets/sheet1.xml" else b""
            bomb.writestr(name, plain.read(name).replace(b"</sheetData>", blanks + b"</sheetData>"))
    return hostile.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("bomb.xlsx", unpacking_to(100_000_000), "unpacks to"),
        ("cut.xlsx", unpacking_to(10)[:-30], "cut.xlsx: "),
        ("quotes.csv", b'RIC,BID\n"A\n"A\n', "quote"),
        ("nul.csv", b"RIC,BID\n\0\0", "NUL"),
    ],
)
def test_init_and_preview_refuse_what_is_hostile_in_a_sentence(
    site: Site, name: str, content: bytes, told: str
) -> None:
    file = site.home / name
    file.write_bytes(content)
    for done in (CliRunner().invoke(main, ["init", str(file)]), site.invoke("preview", str(file))):
        assert done.exit_code == 3
        assert told in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("cell", ["9", " ", '""', "\u202e", "x"])
def test_an_endless_cell_makes_no_endless_proposal_or_preview(site: Site, cell: str) -> None:
    file = site.home / "endless.csv"
    file.write_text(f'RIC,BID,ASK\nA=X,"{cell * 150_000}1","{cell * 150_000}"\nB=X,1,2\n', encoding="utf-8")
    assert len(init(file)) < 10_000
    done = site.invoke("preview", str(file))
    assert done.exit_code == 3
    assert "is longer than the 1,000 bytes of a cell" in " ".join(done.stdout.split())
    assert len(done.stdout) < 10_000


def test_a_very_large_file_is_not_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_bytes(b"RIC,BID\n" + b"A,1\n" * (5 << 20))
    done = CliRunner().invoke(main, ["init", str(file)])
    assert done.exit_code == 3
    assert "Save its first rows as a file of their own" in done.stderr


def test_an_unseen_german_workbook_from_init_to_its_first_acknowledged_post(tmp_path: Path) -> None:
    site = Site(tmp_path)
    file = tmp_path / "Kursblatt_2026-11-20.xlsx"
    german_workbook(file)
    text = init(file)
    assert "0 of 4 rows are read with this, 4 once what is left open below is declared" in text
    # The edits of a person: the Service, where the files come from, and what a percentage means.
    for before, after in (
        ("SET-ME", "TEST"),
        ('"inbox/kursblatt"', '"in"'),
        ('# percent = "points"', 'percent = "points"'),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    with ads() as server:
        site.config.write_text(f'[ads]\nhosts = ["{server.address}"]\nuser = "tester"\n\n{text}', encoding="utf-8")
        file.rename(site.inbox / file.name)
        code, (drop,) = site.once()
        assert (code, drop["totals"]["acked"]) == (0, 4)
        assert held(server) == {"A=BEIS": "98.75", "B=BEIS": "101.4", "C=BEIS": "1024.5"}
        assert held(server, "BID_YIELD")["A=BEIS"] == "2.715"
        assert held(server, "MATUR_DATE")["D=BEIS"] == "2027-12-12"


def test_names_that_span_both_header_rows_must_come_down(tmp_path: Path) -> None:
    book = Workbook()
    for row in (["RIC", "Kurse", None], [None, "Geld", "Brief"], ["A=X", 1.5, 1.6], ["B=X", 2.5, 2.6]):
        book.active.append(row)
    book.active.merge_cells("A1:A2")
    book.active.merge_cells("B1:C1")
    book.save(tmp_path / "kurse.xlsx")
    text = " ".join(init(tmp_path / "kurse.xlsx").replace("\n#", "").split())
    assert '"RIC" stands in row 1, above a blank cell of row 2: a header is one row, so write it into row 2' in text
    assert 'column 1 has values ("A=X") but no header' in text


def test_a_row_of_units_below_the_header_is_seen_to_be_rejected(tmp_path: Path) -> None:
    (tmp_path / "kurse.csv").write_text("RIC;Geld;Brief\n;in %;in %\nA=X;1,5;1,6\nB=X;2,5;2,6\n")
    text = init(tmp_path / "kurse.csv")
    (feed,) = finished(tmp_path, text).feeds
    assert (feed.header_row, feed.decimal, feed.columns) == (1, ",", {"Geld": "BID", "Brief": "ASK"})
    assert "2 of 3 rows are read with this; rejected is, for example, row 2" in text


# preview


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.configure("simulated", feed={"patterns": ["*.csv", "*.xlsx"]})
    return site


def preview(site: Site, file: Path, *args: str) -> Result:
    return site.invoke("preview", str(file), *args)


def test_preview_hints_at_the_declaration_and_applies_nothing(site: Site) -> None:
    site.configure("simulated", feed={"delimiter": ";"})
    file = site.home / "prices.csv"
    file.write_text("RIC;BID\nA;98,75\nB;99,5\n")
    done = preview(site, file)
    assert 'hint: row 2, BID "98,75" and 1 more: this looks like a decimal comma: set decimal = ","' in done.stdout
    assert "0 to refresh" in done.stdout
    assert done.exit_code == 3
    found = json.loads(preview(site, file, "--json").stdout)["hints"]
    assert [hint["declare"] for hint in found] == [[{"decimal": ","}]]


def test_preview_of_what_is_read_has_no_hint(site: Site) -> None:
    file = site.home / "prices.csv"
    file.write_text("RIC,BID\nA,98.75\n")
    assert "hint" not in preview(site, file).stdout
    assert json.loads(preview(site, file, "--json").stdout)["hints"] == []


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (b"RIC;BID\nA;1.5\n", ['delimiter = ";"']),
        ("RIC,BID\nA,1.5\n".encode("utf-16"), ['encoding = "utf-16"']),
        (b"RIC,BID,DSPLY_NAME\nA,1.5,caf\xe9\n", ['encoding = "cp1252"']),
        (b"Prices of today,,\n,,\nRIC,BID,ASK\nA,1.5,2\n", ["header_row = 3"]),
        (b"Kurse\nRIC;BID;DSPLY_NAME\nA;1.5;\xe4\n", ['encoding = "cp1252"', 'delimiter = ";"', "header_row = 2"]),
    ],
)
def test_preview_names_the_layout_that_would_read_the_file(site: Site, content: bytes, declared: list[str]) -> None:
    file = site.home / "prices.csv"
    file.write_bytes(content)
    done = preview(site, file)
    assert done.exit_code == 3
    assert [line.partition(": set ")[2] for line in done.stderr.splitlines() if ": set " in line] == declared


def test_preview_names_the_sheet(site: Site) -> None:
    file = site.home / "prices.xlsx"
    book = Workbook()
    book.active.append(["Cover"])
    for row in (["RIC", "BID"], ["A", 1.5]):
        (book["Kurse"] if "Kurse" in book.sheetnames else book.create_sheet("Kurse")).append(row)
    book.save(file)
    done = preview(site, file)
    assert 'the table is in the sheet "Kurse": set sheet = "Kurse"' in done.stderr
    assert done.exit_code == 3


def test_what_a_file_says_cannot_steer_the_terminal(site: Site) -> None:
    file = site.home / "prices.csv"
    file.write_bytes(b"RIC,BID,\x1b]0;x\x07\xe2\x80\xae\nA,1,2\n")
    done = preview(site, file)
    assert done.exit_code == 3
    assert r"\x1b]0;x\x07\u202e" in done.stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stderr)


def test_preview_claims_nothing_where_no_layout_helps(site: Site) -> None:
    file = site.home / "prices.csv"
    file.write_text("Name;Price\nA;1\n")
    done = preview(site, file)
    assert done.exit_code == 3
    assert ": set " not in done.stderr
