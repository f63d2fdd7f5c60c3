"""CSV bytes -> cells: exact text, exact line numbers, and no row that was not written as one."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from pathlib import PurePath

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.records import split_records
from contrib_watch.core.model import Cells, Feed
from contrib_watch.errors import UnreadableFile

FEED = Feed(name="bonds", folder=PurePath("bonds"), service="NIPROV")


def read(text: str | bytes, **feed: object) -> Cells:
    content = text.encode() if isinstance(text, str) else text
    return read_cells(content, "prices.csv", replace(FEED, **feed))  # type: ignore[arg-type]


def table(cells: Cells) -> dict[int, tuple[str | None, ...]]:
    columns = [column.to_pylist() for column in cells.columns]
    return dict(zip(cells.rows.to_pylist(), zip(*columns, strict=True), strict=True))


def refusal(text: str | bytes, **feed: object) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as refused:
        read(text, **feed)
    assert refused.value.hint
    return refused.value


def test_cells_are_text_and_nothing_is_taken_for_missing() -> None:
    cells = read("RIC,BID\nNA,1E5\nNULL,005930\nnan,TRUE\nNone, 1.50 \n#N/A,\n")
    assert table(cells) == {
        2: ("NA", "1E5"),
        3: ("NULL", "005930"),
        4: ("nan", "TRUE"),
        5: ("None", " 1.50 "),
        6: ("#N/A", None),
    }
    assert cells.header == ("RIC", "BID")
    assert cells.header_row == 1
    assert cells.kinds is None
    assert cells.sheet == ""
    assert cells.letters == ()
    assert cells.malformed == ()


def test_what_pandas_writes_comes_back() -> None:
    frame = pd.DataFrame({"RIC": ["A=X", "B=X"], "BID": ["1.10", ""], "NOTE": ['say "x"', "a,b\nc"]})
    assert table(read(frame.to_csv(index=False))) == {2: ("A=X", "1.10", 'say "x"'), 3: ("B=X", None, "a,b\nc")}


def test_the_header_is_trimmed_of_spaces_and_marks_alone() -> None:
    assert read("\ufeff\ufeff RIC ,\ufeffBID, \u00a0ASK,\nA,1,2,\n").header == ("RIC", "BID", "\u00a0ASK", "")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "RIC,N\nA,café\n"),
        ("cp1252", "RIC,N\nA,10 €\n"),
        ("utf-16", "RIC,N\nA,Ā\n"),
        ("utf-16-le", "RIC,N\nA,x\n"),
    ],
)
def test_a_declared_encoding_is_used(encoding: str, text: str) -> None:
    assert list(table(read(text.encode(encoding), encoding=encoding)).values()) == [("A", text[8:-1])]


def test_undecodable_bytes_are_named_by_line_and_column() -> None:
    refused = refusal("RIC,N\nA,x\nB,né\n".encode("cp1252"))
    assert "line 3, column 4" in refused.where
    assert "cp1252" in refused.hint


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named_where_utf8_is_declared(encoding: str) -> None:
    assert f'encoding = "{encoding}"' in refusal("RIC,BID\nA,1\n".encode(encoding)).hint


def test_an_unknown_encoding_is_an_error_of_the_feed() -> None:
    assert "encoding" in refusal("RIC,BID\n", encoding="utf-9").hint


def test_nul_bytes_refuse_the_file_with_their_place() -> None:
    refused = refusal(b"RIC,BID\nA,1\nB,\0\0\0")
    assert "NUL" in refused.what
    assert "line 3, column 3" in refused.where


def test_rows_of_another_width_are_malformed_and_the_rest_is_read() -> None:
    cells = read("RIC,BID,ASK\nA,1,2\nB,1,234.5,2\n\nC,3\nD,4,5\n")
    assert table(cells) == {2: ("A", "1", "2"), 6: ("D", "4", "5")}
    assert [(bad.row, bad.text, bad.cause) for bad in cells.malformed] == [
        (3, "B,1,234.5,2", "has 4 cells, and the header has 3"),
        (5, "C,3", "has 2 cells, and the header has 3"),
    ]


def test_a_header_that_no_row_agrees_with_refuses_the_file() -> None:
    assert "every row has 3 cells, and the header has 2" in refusal("RIC,BID\nA,1,\nB,2,\n").what


def test_a_delimiter_at_every_end_is_a_blank_column() -> None:
    cells = read("RIC,BID,\nA,1,\n")
    assert cells.header == ("RIC", "BID", "")
    assert table(cells) == {2: ("A", "1", None)}


def test_blank_lines_are_counted_and_not_read() -> None:
    cells = read('RIC,BID\n\nA,1\n , \n,,,,\n   \n"",\nB,2\n\n')
    assert table(cells) == {3: ("A", "1"), 8: ("B", "2")}
    assert cells.malformed == ()


def test_a_single_column_is_read() -> None:
    assert table(read("RIC\nA\n\nB\n")) == {2: ("A",), 4: ("B",)}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_read(end: str) -> None:
    text = end.join(["RIC,BID", "A,1", "", 'B,"2"', "C,3", ""])
    assert table(read(text)) == {2: ("A", "1"), 4: ("B", "2"), 5: ("C", "3")}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_inside_quotes_stay_as_they_are(end: str) -> None:
    text = end.join(["RIC,BID", 'B,"x' + end + 'y"', "C,3", ""])
    assert table(read(text)) == {2: ("B", f"x{end}y"), 4: ("C", "3")}


@pytest.mark.parametrize("inside", ["\r", "\n", "\r\n"])
def test_cells_of_several_lines_in_an_old_mac_file_refuse_it(inside: str) -> None:
    assert "line 2" in refusal(f'RIC,BID\rA,"1{inside}2"\rB,2\r').where


def test_a_carriage_return_among_other_line_ends_refuses_the_file() -> None:
    assert "line 2" in refusal("RIC,BID\nA,1\rB,2\nC,3\n").where


def test_a_carriage_return_inside_quotes_is_text() -> None:
    assert table(read('RIC,BID\nA,"1\r2"\n')) == {2: ("A", "1\r2")}


def test_quoted_cells_span_lines_and_rows_keep_their_first_line() -> None:
    cells = read('RIC,"BID\nPRICE"\nA,"1\n\n2"\n"B ""x""",3\nC\n"D,D",4\n')
    assert cells.header == ("RIC", "BID\nPRICE")
    assert table(cells) == {3: ("A", "1\n\n2"), 6: ('B "x"', "3"), 8: ("D,D", "4")}
    assert [bad.row for bad in cells.malformed] == [7]


@pytest.mark.parametrize("line", ['A,"a"b', 'A,x"y"', '"A" ,1', 'A,""b""'])
def test_text_beside_a_quote_is_malformed(line: str) -> None:
    cells = read(f'RIC,BID\n{line}\nB,"2"\n')
    assert table(cells) == {3: ("B", "2")}
    assert [(bad.row, bad.text, bad.cause) for bad in cells.malformed] == [(2, line, "has text beside a quote")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('RIC,BID\nA,1\nB,"2\nC,3\n', 3),
        ('RIC,BID\nA,12" pipe\nB,"2"\nC,3\n', 2),
        ('RIC,BID\nA,12" pipe\nB,5" pipe\nC,3\n', 2),
        # One reader ends this record at its line's end, another goes on to the next quote.
        ('RIC,BID\nA"b,"x\nB,2\nC,"3"\n', 2),
        ('RIC,"BID\nA,1\n', 1),
    ],
)
def test_a_quote_that_leaves_a_row_s_end_in_doubt_refuses_the_file(text: str, line: int) -> None:
    assert f"line {line}" in refusal(text).where


def test_a_last_line_without_a_line_end_may_be_cut_short() -> None:
    text = "RIC,BID\nA,1.25\nB,1.25"
    cells = read(text)
    assert table(cells) == {2: ("A", "1.25")}
    assert [(bad.row, bad.cause) for bad in cells.malformed] == [(3, "has no line end, so the file may be cut short")]
    assert table(read(text, final_newline="optional")) == {2: ("A", "1.25"), 3: ("B", "1.25")}
    assert "no line end" in refusal("RIC,BI").what
    assert table(read("RIC,BID", final_newline="optional")) == {}


@pytest.mark.parametrize("mark", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_sep_line_is_a_line_that_must_agree(mark: str) -> None:
    cells = read(f"{mark}\r\nRIC;BID\r\nA;1\r\n", delimiter=";")
    assert cells.header_row == 2
    assert table(cells) == {3: ("A", "1")}
    assert "line 1" in refusal(f"{mark}\r\nRIC;BID\r\nA;1\r\n").where


def test_lines_above_the_header_are_skipped_whatever_they_hold() -> None:
    cells = read('Prices of "today\n\nRIC,BID\nA,1\nB\n', header_row=3)
    assert cells.header_row == 3
    assert table(cells) == {4: ("A", "1")}
    assert [bad.row for bad in cells.malformed] == [5]


@pytest.mark.parametrize(("text", "row"), [("RIC,BID\nA,1\n", 3), ("RIC\n", 9), ("\nRIC\n", 1), (",,\nA,1,2\n", 1)])
def test_a_header_that_is_not_there_refuses_the_file(text: str, row: int) -> None:
    assert "header" in refusal(text, header_row=row).what


def test_too_many_rows_are_refused() -> None:
    assert "max_rows" in refusal("RIC\nA\nB\nC\n", max_rows=2).hint
    assert len(read("RIC\nA\n\nB\n", max_rows=2).rows) == 2


def test_a_line_longer_than_a_block_of_the_parser_is_read() -> None:
    long = "x" * 3_000_000
    assert table(read(f"RIC,N\nA,{long}\nB,1\n")) == {2: ("A", long), 3: ("B", "1")}


def test_row_numbers_hold_across_the_parser_s_blocks() -> None:
    rows = random.Random(5).choices(["R{0},1,2", "R{0},1", "", 'R{0},"a\nb",2'], k=60_000)
    text, expected, line = ["RIC,BID,ASK"], {}, 2
    for row in rows:
        text.append(row.format(line))
        if row.count(",") == 2:
            expected[line] = f"R{line}"
        line += 1 + row.count("\n")
    found = {row: values[0] for row, values in table(read("\n".join(text) + "\n" * 2)).items()}
    assert found == expected


AWKWARD = st.one_of(
    st.sampled_from(
        ["", "NA", "007", "1e5", 'a"b', "a,b", "a;b", "x\ny", "x\r\ny", '"', '""', " ", "ü\u2028\x85", "'"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)


@given(
    rows=st.lists(st.lists(AWKWARD, min_size=3, max_size=3), max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_the_csv_module_writes_comes_back_cell_for_cell(
    rows: list[list[str]], delimiter: str, end: str, quoting: int, encoding: str
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["RIC", "BID", "ASK"])
    expected: dict[int, tuple[str | None, ...]] = {}
    for row in rows:
        line = file.getvalue().count("\n") + 1
        # The module leaves a carriage return unquoted where the line end has none; a reader cannot tell it then.
        row = [cell if "\n" in cell else cell.replace("\r", "") for cell in row]
        writer.writerow(row)
        expected[line] = tuple(cell or None for cell in row)
    cells = read(file.getvalue().encode(encoding), delimiter=delimiter, encoding=encoding)
    blank = " \t" + delimiter
    found = table(cells)
    for line, row in expected.items():
        if line in found:
            assert found[line] == row
        else:
            assert not any((cell or "").strip(blank) for cell in row)
    assert found.keys() <= expected.keys()
    assert cells.malformed == ()


@given(text=st.text(st.sampled_from('ab1," \n\r;é\ufeff'), max_size=60))
def test_any_text_is_read_as_the_csv_module_reads_it_or_refused(text: str) -> None:
    try:
        cells = read(f"X,Y\n{text}\n")
    except UnreadableFile:
        return
    plain = [row for row in csv.reader(io.StringIO(f"X,Y\n{text}\n", newline="")) if len(row) == 2][1:]
    for values in table(cells).values():
        row = [value or "" for value in values]
        assert row in plain
        plain = plain[plain.index(row) + 1 :]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_file_cut_at_any_byte_gives_only_rows_of_the_whole_one(end: str, quoting: int) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=end, quoting=quoting)
    writer.writerow(["RIC", "BID", "NOTE"])
    inside = "" if end == "\r" else end
    for number in range(12):
        writer.writerow(
            [
                f"R{number}=É",
                f"{number}.{number:03}",
                ["plain", 'a "b"', "x,y", f"l1{inside}2,3,4{inside}"][number % 4],
            ]
        )
    content = file.getvalue().encode()
    whole = table(read(content))
    assert len(whole) == 12
    for length in range(len(content)):
        try:
            part = table(read(content[:length]))
        except UnreadableFile:
            continue
        assert part.items() <= whole.items(), length


@pytest.mark.parametrize("lookalike", ["A=X", "A=X\u00a0", "A=X\u200b", '"\tA=X "'])
def test_a_malformed_line_names_the_rows_that_it_may_be_a_copy_of(lookalike: str) -> None:
    cells = read_cells(f"RIC,BID,ASK\nA=X,1,2\n{lookalike},3\nB=X,1,2\n".encode(), "prices.csv", FEED)
    assert [bad.rics for bad in cells.malformed] == [("A=X",)]


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("widest", [1, 2, 256, 257, 65_536, 65_537])
def test_cells_are_counted_however_many_a_record_has(widest: int, end: bytes) -> None:
    widths = [1, widest, 2, 1, widest, widest]
    records = split_records(b"\n".join(b"," * (width - 1) for width in widths) + b"x" + end, b",")
    assert records.widths.tolist() == widths
