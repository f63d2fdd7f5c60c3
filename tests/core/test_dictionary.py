"""The formats of RDMFieldDictionary and enumtype.def, and the product's built-in files."""

from __future__ import annotations

from importlib import resources

import pytest

from contrib_watch.core.dictionary import Dictionary, Kind
from contrib_watch.errors import ConfigurationError

FIELDS = """\
!tag Filename  RWF.DAT
!tag Type      1
!ACRONYM    DDE ACRONYM          FID  RIPPLES TO  FIELD TYPE     LENGTH  RWF TYPE   RWF LEN
BID        "BID"                  22  BID_1       PRICE              17  REAL64           7
HIGH_1     "TODAY'S HIGH, ""      12  HIGH_2      PRICE              17  REAL64           7
"""
"""Its last line has a quote too many."""

ENUMS = """\
!tag Filename    ENUMTYPE.001
CURRENCY      15
CURRENCY_2  1084
      36        "AUD"   Australian dollar
     840        "USD"
PRCTCK_1      14
       0          " "   no tick
       1         #DE#   up tick
       2         #4142# two letters
"""


def field_line(acronym: str, fid: int, rwf: str = "REAL64           7", kind: str = "PRICE              17") -> str:
    return f'{acronym} "{acronym}" {fid} NULL {kind} {rwf}\n'


ENUMERATED = {"kind": "ENUMERATED    5 ( 3 )", "rwf": "ENUM             2"}
ALL_FIELDS = (
    field_line("BID", 22)
    + field_line("CURRENCY", 15, **ENUMERATED)
    + field_line("CURRENCY_2", 1084, **ENUMERATED)
    + field_line("PRCTCK_1", 14, **ENUMERATED)
)


def built_in() -> Dictionary:
    data = resources.files("contrib_watch") / "data"
    return Dictionary.parse(
        (data / "RDMFieldDictionary").read_text("ascii"), (data / "enumtype.def").read_text("ascii")
    )


def test_a_field_keeps_all_its_columns() -> None:
    bid = Dictionary.parse('BID\t"TODAY\'S BID"  22  BID_1  PRICE  17  REAL64  7  \r\n', "").get("BID")
    assert bid is not None
    assert (bid.acronym, bid.fid, bid.kind) == ("BID", 22, Kind.REAL)
    assert (bid.marketfeed_type, bid.length, bid.rwf_type, bid.rwf_length) == ("PRICE", 17, "REAL64", 7)


@pytest.mark.parametrize("length", ["5 ( 3 )", "5 (3)", "5(3)", "5", "5 ( 3 ) "])
def test_the_length_of_a_display_may_stand_in_brackets(length: str) -> None:
    fields = Dictionary.parse(f'CURRENCY "C" 15 NULL ENUMERATED {length} ENUM 2\n', "")
    currency = fields.fields["CURRENCY"]
    assert (currency.kind, currency.length, currency.rwf_length) == (Kind.ENUM, 5, 2)


@pytest.mark.parametrize(
    ("rwf_type", "kind"),
    [
        ("REAL32", Kind.REAL),
        ("UINT32", Kind.UINT),
        ("INT64", Kind.INT),
        ("ASCII_STRING", Kind.TEXT),
        ("UTF8_STRING", Kind.TEXT),
        ("TIME", Kind.TIME),
        ("BUFFER", Kind.UNSUPPORTED),
        ("ELEMENT_LIST", Kind.UNSUPPORTED),
        ("SOMETHING_NEW", Kind.UNSUPPORTED),
    ],
)
def test_rwf_types_have_kinds(rwf_type: str, kind: Kind) -> None:
    definition = Dictionary.parse(field_line("X", 1, f"{rwf_type} 4"), "").fields["X"]
    assert (definition.kind, definition.rwf_type) == (kind, rwf_type)


def test_fields_of_one_block_share_its_values() -> None:
    dictionary = Dictionary.parse(ALL_FIELDS, ENUMS)
    assert dictionary.fields["CURRENCY"].enum_values == {36: "AUD", 840: "USD"}
    assert dictionary.fields["CURRENCY_2"].enum_values == {36: "AUD", 840: "USD"}
    assert dictionary.fields["PRCTCK_1"].enum_values == {0: " ", 1: "\xde", 2: "AB"}
    assert dictionary.fields["BID"].enum_values == {}


def test_a_table_for_fields_that_are_not_in_the_dictionary_is_passed_over() -> None:
    assert Dictionary.parse(field_line("BID", 22), ENUMS).fields.keys() == {"BID"}


def test_negative_fids_comments_and_odd_bytes_are_taken() -> None:
    text = "\ufeff! caf\x85 \xe9\n\n" + field_line("MINE", -15) + "! end without a line end"
    assert Dictionary.parse(text, "").fields["MINE"].fid == -15


@pytest.mark.parametrize(
    ("fields", "enums", "line", "what"),
    [
        (FIELDS, "", 5, "cannot read the field definition"),
        (field_line("BID", 22) + "ASK 25 NULL PRICE 17 REAL64 7\n", "", 2, "cannot read the field definition"),
        (field_line("BID", 22) + 'ASK "ASK" 25 NULL PRICE 17 REAL64\n', "", 2, "cannot read the field definition"),
        (field_line("BID", 22) + field_line("ASK", 22), "", 2, "FID 22 is defined in line 1"),
        (field_line("BID", 22) + field_line("BID", 23), "", 2, "BID is FID 22"),
        (ENUMS, "", 2, "cannot read the field definition"),
        (ALL_FIELDS, '1 "A"\n', 1, "before any field"),
        (ALL_FIELDS, 'CURRENCY 15\n1 "A"\n1 "B"\n', 3, "the value 1 stands twice"),
        (ALL_FIELDS, 'CURRENCY 15\n65536 "A"\n', 2, "larger than 65535"),
        (ALL_FIELDS, 'CURRENCY 15\n1 "A"\nCURRENCY 15\n2 "B"\n', 3, "has a table in line 1"),
        (ALL_FIELDS, 'CURRENCY 15\n1 "A\n', 2, "cannot read"),
        (ALL_FIELDS, "CURRENCY 15\n1 #ABC#\n", 2, "cannot read"),
        (ALL_FIELDS, 'CURRENCY 15\n1 "A"\nPRCTCK_1 14\n', 3, "PRCTCK_1 has no values"),
        (ALL_FIELDS, 'CURRENCY 14\n1 "A"\n', 1, "FID 14 is called CURRENCY, but PRCTCK_1"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(fields: str, enums: str, line: int, what: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Dictionary.parse(fields, enums)
    assert f"line {line}:" in str(error.value)
    assert what in str(error.value)


def test_a_dictionary_without_fields_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="defines no field"):
        Dictionary.parse("! nothing\n", "")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("Bid Price", "BID"), ("bid", "BID"), ("Maturity Date", "MATUR_DATE"), ("ASKSZE", "ASKSIZE"), ("Kommentar", "")],
)
def test_nearest_field(name: str, nearest: str) -> None:
    assert built_in().nearest(name) == nearest


def test_names_are_case_sensitive() -> None:
    assert built_in().get("bid") is None


def test_the_built_in_files() -> None:
    dictionary = built_in()
    assert len(dictionary.fields) == 124
    assert not [f for f in dictionary.fields.values() if f.kind is Kind.UNSUPPORTED]
    currency = dictionary.fields["CURRENCY"]
    assert (currency.fid, len(currency.enum_values), currency.enum_values[840]) == (15, 298, "USD")
    assert dictionary.fields["RDN_EXCHID"].enum_values == {}
    assert (dictionary.fields["PREF_DISP"].kind, dictionary.fields["PREF_DISP"].rwf_length) == (Kind.UINT, 2)
    assert (dictionary.fields["BKGD_REF"].rwf_type, dictionary.fields["BKGD_REF"].length) == ("ASCII_STRING", 21)


@pytest.mark.parametrize(
    ("file", "tags"),
    [
        ("RDMFieldDictionary", {"Filename": "RWF.DAT", "Type": "1"}),
        ("enumtype.def", {"Filename": "ENUMTYPE.001", "Type": "2"}),
    ],
)
def test_the_built_in_files_have_the_tags_that_the_sdk_reads(file: str, tags: dict[str, str]) -> None:
    lines = (resources.files("contrib_watch") / "data" / file).read_text("ascii").splitlines()
    found = dict(line.split(maxsplit=2)[1:] for line in lines if line.startswith("!tag "))
    assert tags.items() <= found.items()
    assert found["DictionaryId"] == "1"
