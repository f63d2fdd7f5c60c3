"""Hazards of delimited text, byte by byte as they were seen."""

# ruff: noqa: E501, PIE800 - tables read best with a line to each entry
from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any

from hazard import Hazard

HEADER = "RIC,BID,ASK"
GOOD = "GOOD=X,22.1,22.3"
PUBLISHED = {"GOOD=X": "BID 22.1 ASK 22.3"}

GERMAN = {"delimiter": ";", "decimal": ",", "thousands": ".", "date_format": "%d.%m.%Y"}

QUOTES_NOTE = "Readers differ on which lines such a quote swallows, so none of them is taken."


def lines(*texts: str, encoding: str = "utf-8", end: str = "\r\n") -> Callable[[], bytes]:
    """Each text as a line with its end."""
    return lambda: "".join(f"{text}{end}" for text in texts).encode(encoding)


def raw(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def values_of(field: str, *values: str) -> Callable[[], bytes]:
    """A column of these values, each with a RIC of its own."""
    return lines(f"RIC,{field}", *(f"R{number}=X,{value}" for number, value in enumerate(values, 1)))


def delimited_hazards() -> Iterator[Hazard]:
    """Every hazard of this module, in the order of the table."""
    yield from _unfinished()
    yield from _shape()
    yield from _headers()
    yield from _rics()
    yield from _numbers()
    yield from _dates_times_and_names()
    yield from _blanks()
    yield from _encodings()
    yield from _quotes_and_line_ends()
    yield from _hostile_text()
    yield from _limits()


def _unfinished() -> Iterator[Hazard]:
    whole = lines(HEADER, GOOD, "LAST=X,1.25,1.254")
    yield Hazard("cut-in-a-price", "the last price is cut: 1.25 of 1.254", lambda: whole()[:-3], PUBLISHED)
    yield Hazard("cut-before-a-line-end", "cut right after a whole price", lambda: whole()[:-2], PUBLISHED)
    yield Hazard("cut-in-a-line-end", "cut between CR and LF", lambda: whole()[:-1], PUBLISHED)
    yield Hazard("cut-in-a-ric", "cut inside the last RIC", lines(HEADER, GOOD, "LA", end="\n"), PUBLISHED)
    yield Hazard("cut-in-the-header", "nothing but a part of the header", raw(b"RIC,BID"))
    yield Hazard(
        "cut-at-a-line-end",
        "cut exactly at a line end",
        lines(HEADER, GOOD),
        PUBLISHED,
        note="Nobody can tell. `complete = true` reports the missing RICs; a done-marker keeps the file waiting.",
    )
    yield Hazard(
        "no-final-line-end",
        "every file of this feed ends without a line end, and the feed says so",
        lambda: whole()[:-2],
        {**PUBLISHED, "LAST=X": "BID 1.25 ASK 1.254"},
        feed={"final_newline": "optional"},
    )
    yield Hazard("nul-tail", "a copy with its full size and an unwritten tail", lambda: whole() + bytes(40))
    yield Hazard("nul-hole", "an unwritten hole in the middle", lambda: whole().replace(b"22.3", bytes(4)))
    yield Hazard("empty", "a file of no bytes", raw(b""))
    yield Hazard("only-a-mark", "a byte order mark and nothing else", raw(codecs.BOM_UTF8))
    yield Hazard("only-a-header", "a header and no row", lines(HEADER))
    yield Hazard("only-blank-rows", "a header above delimiters", lines(HEADER, ",,", " , ,", ""))
    yield Hazard("only-line-ends", "nothing but line ends", raw(b"\r\n" * 5))


def _shape() -> Iterator[Hazard]:
    yield Hazard(
        "unquoted-thousands", "a thousands mark splits a price", lines(HEADER, GOOD, "A=X,1,234.5,2"), PUBLISHED
    )
    yield Hazard(
        "quoted-thousands", "the same in quotes, undeclared", lines(HEADER, GOOD, 'A=X,"1,234.5",2'), PUBLISHED
    )
    yield Hazard(
        "declared-thousands",
        "the same, declared",
        lines(HEADER, 'A=X,"1,234.5","1,234,567"', 'B=X,"12,34.5",2', 'C=X,"1234,567",2', 'D=X,"0,123",2'),
        {"A=X": "BID 1234.5 ASK 1234567"},
        feed={"thousands": ","},
    )
    yield Hazard(
        "trailing-comma", "every row ends in a comma, the header does not", lines(HEADER, GOOD + ",", "B=X,1,2,")
    )
    yield Hazard(
        "trailing-comma-everywhere",
        "header and rows end in a comma",
        lines(HEADER + ",", GOOD + ",", "B=X,1,2,"),
        {**PUBLISHED, "B=X": "BID 1 ASK 2"},
        note="The columns are where the header says, and the last is blank from top to bottom.",
    )
    yield Hazard("one-trailing-comma", "one row ends in a comma", lines(HEADER, GOOD, "B=X,1,2,"), PUBLISHED)
    yield Hazard("short-row", "a row lacks its last cell", lines(HEADER, "B=X,1", GOOD), PUBLISHED)
    yield Hazard("footer", "a note below the table", lines(HEADER, GOOD, "Source: desk 4"), PUBLISHED)
    yield Hazard("totals", "the sum and the mean of the rows above", lines(HEADER, GOOD, "Total,22.1,22.3", "Average:,22.1,22.3"), PUBLISHED)  # fmt: skip
    yield Hazard(
        "comment",
        "a line that begins with a number sign",
        lines(HEADER, "# as of close", "#B=X,1,2", GOOD),
        {**PUBLISHED, "#B=X": "BID 1 ASK 2"},
        note="No comment sign is declared, so none is known; `ric_pattern` keeps such RICs out.",
    )
    yield Hazard(
        "blank-lines-between", "blank lines among the rows", lines(HEADER, "", GOOD, ",,", "B=X,x,1"), PUBLISHED
    )
    yield Hazard("other-delimiter", "semicolons, undeclared", lines("RIC;BID;ASK", "A=X;1.5;1.6"))
    yield Hazard(
        "semicolons-and-points",
        "1.234 with semicolons and a decimal comma, thousands undeclared",
        lines("RIC;BID", "A=X;1.234", "B=X;1,234"),
        {"B=X": "BID 1.234"},
        feed={"delimiter": ";", "decimal": ","},
    )
    yield Hazard(
        "declared-german",
        "the same with every mark declared",
        lines("RIC;BID", "A=X;1.234", "B=X;1,234", "C=X;1.23", "D=X;12.34,5", "E=X;1.234,5"),
        {"A=X": "BID 1234", "B=X": "BID 1.234", "E=X": "BID 1234.5"},
        feed=GERMAN,
    )
    yield Hazard(
        "tabs", "tabs, declared", lines("RIC\tBID", "A=X\t1.5"), {"A=X": "BID 1.5"}, feed={"delimiter": "\t"}
    )
    yield Hazard("sep-line", "a first line that names the delimiter", lines("sep=,", HEADER, GOOD), PUBLISHED)
    yield Hazard("sep-line-disagrees", "it names another one than the feed", lines("sep=;", "RIC;BID", "A=X;1"))
    yield Hazard(
        "title-rows",
        "the header stands in line 3",
        lines("Prices of the day", "", HEADER, GOOD),
        PUBLISHED,
        feed={"header_row": 3},
    )
    yield Hazard("title-rows-undeclared", "the same, undeclared", lines("Prices of the day", "", HEADER, GOOD))
    yield Hazard(
        "two-header-rows",
        "a second header row with units",
        lines(HEADER, ",EUR,EUR", GOOD),
        PUBLISHED,
    )


def _headers() -> Iterator[Hazard]:
    yield Hazard("column-twice", "the same header twice", lines("RIC,BID,BID", "A=X,1,2"))
    yield Hazard(
        "field-twice",
        "two headers for one field",
        lines("RIC,BID,Geld", "A=X,1,2"),
        feed={"columns": {"Geld": "BID"}},
    )
    yield Hazard("ric-column-twice", "two columns of RICs", lines("RIC,RIC,BID", "A=X,B=X,2"))
    yield Hazard("spaced-header", "spaces around the names", lines(" RIC , BID ,ASK", GOOD), PUBLISHED)
    yield Hazard("marked-header", "a byte order mark", lines("\ufeff" + HEADER, GOOD), PUBLISHED)
    yield Hazard("twice-marked-header", "two byte order marks", lines("\ufeff\ufeff" + HEADER, GOOD), PUBLISHED)
    yield Hazard("blank-header", "a column of values without a name", lines("RIC,BID,", GOOD))
    yield Hazard("unknown-header", "a misspelled field", lines("RIC,BIDD,ASK", GOOD))
    yield Hazard("other-case", "the field in lower case", lines("RIC,bid,ASK", GOOD))
    yield Hazard("unseen-mark-in-header", "a zero-width space in a name", lines("RIC,BI\u200bD,ASK", GOOD))
    yield Hazard("line-separator-in-header", "U+2028 in a name", lines("RIC,BID\u2028,ASK", "GOOD=X,22.1"))
    yield Hazard("form-feed-in-header", "a form feed in a name", lines("RIC,BID\f,ASK", GOOD))
    yield Hazard("quoted-header", "names in quotes", lines('"RIC","BID","ASK"', GOOD), PUBLISHED)
    yield Hazard("header-over-two-lines", "a line end inside a quoted name", lines('RIC,BID,"Ask\nprice"', GOOD))
    yield Hazard("endless-header", "a name of 200,000 letters", lines(f"RIC,BID,{'A' * 200_000}", GOOD))
    yield Hazard("no-ric-column", "no column of RICs", lines("ISIN,BID", "DE0001,1"))


def _rics() -> Iterator[Hazard]:
    words = ["NA", "NULL", "nan", "None", "n/a", "N/A", "TRUE", "true", "inf", "-", "005930", "1E5", "0x10", "1_000"]
    yield Hazard(
        "rics-like-values",
        "RICs that readers take for nothing, numbers or booleans",
        lines("RIC,BID", *(f"{word},1.5" for word in words)),
        dict.fromkeys(words, "BID 1.5"),
    )
    yield Hazard(
        "error-as-ric", "#N/A in the column of RICs", lines(HEADER, "#N/A,1,2", "#REF!,3,4", GOOD), PUBLISHED
    )
    yield Hazard("no-ric", "a price without a RIC", lines(HEADER, ",1,2", GOOD), PUBLISHED)
    yield Hazard("twins", "the same row twice", lines(HEADER, GOOD, "GOOD=X,22.10,22.3"), PUBLISHED)
    yield Hazard("two-prices", "one RIC with two prices", lines(HEADER, GOOD, "A=X,1,2", "A=X,1,3"), PUBLISHED)
    yield Hazard(
        "one-copy-unreadable",
        "one of two copies cannot be read",
        lines(HEADER, GOOD, "A=X,1,2", "A=X,1,x"),
        PUBLISHED,
    )
    yield Hazard("twin-blank", "one of two copies lacks a value", lines(HEADER, GOOD, "A=X,1,2", "A=X,1,"), PUBLISHED)
    yield Hazard("spaced-ric", "ASCII spaces around a RIC", lines(HEADER, "  GOOD=X ,22.1,22.3"), PUBLISHED)
    for name, story, mark in (
        ("nbsp-in-ric", "a no-break space behind a RIC", "A=X\u00a0"),
        ("zero-width-in-ric", "a zero-width space in a RIC", "A\u200b=X"),
        ("cyrillic-in-ric", "a Cyrillic A", "\u0410=X"),
        ("fullwidth-in-ric", "fullwidth letters", "\uff21=X"),
        ("soft-hyphen-in-ric", "a soft hyphen", "A\u00ad=X"),
        ("tab-in-ric", "a tab behind a RIC", "A=X\t"),
        ("mark-in-ric", "a byte order mark inside the text", "\ufeffA=X"),
        ("line-separator-in-ric", "U+2028 in a RIC", "A\u2028=X"),
        ("control-in-ric", "a control character", "A\x1f=X"),
    ):
        yield Hazard(name, story, lines(HEADER, f"{mark},1,2", GOOD), PUBLISHED)
    yield Hazard("backslash-in-ric", "a backslash in a RIC", lines(HEADER, "A\\B=X,1,2", GOOD), PUBLISHED)
    yield Hazard("quote-in-ric", "a quotation mark in a RIC", lines(HEADER, '"A""B=X",1,2', GOOD), PUBLISHED)
    yield Hazard("endless-ric", "a RIC of 256 characters", lines(HEADER, f"{'A' * 256},1,2", GOOD), PUBLISHED)
    yield Hazard(
        "foreign-ric",
        "a RIC outside the feed's `ric_pattern`",
        lines(HEADER, "VOD.L,1,2", GOOD),
        PUBLISHED,
        feed={"ric_pattern": "*=X"},
    )


def _numbers() -> Iterator[Hazard]:
    yield Hazard(
        "exact-numbers",
        "numbers keep every written digit",
        lines(
            "RIC,BID",
            *(
                "A=X,1e-5",
                "B=X,0.12345678901234",
                "C=X,9007199254740993",
                "D=X,22.10",
                "E=X,-0",
                "F=X,+1.5",
                "G=X,.5",
            ),
            *("H=X,1E2", "I=X,007.5", "J=X,-0.0", "K=X,1.0E-14", "L=X, 1.5 "),
        ),
        {
            **{"A=X": "BID 0.00001", "B=X": "BID 0.12345678901234", "C=X": "BID 9007199254740993", "D=X": "BID 22.1"},
            **{
                "E=X": "BID 0",
                "F=X": "BID 1.5",
                "G=X": "BID 0.5",
                "H=X": "BID 100",
                "I=X": "BID 7.5",
                "J=X": "BID 0",
            },
            **{"K=X": "BID 0.00000000000001", "L=X": "BID 1.5"},
        },
    )
    for name, story, values in (
        ("infinite", "infinities and numbers that no REAL holds", (
            "1e400", "inf", "-inf", "nan", "NaN", "Infinity", "1e-15", "0.123456789012345", "9223372036854775808",
            "1e99999999999999999999",
        )),
        ("program-notation", "what programming languages take for a number, or for nothing", (
            "5.", "1_000", "0x1F", "--1", "1-", "1e", "1.2.3", "TRUE", "NA", "NULL", "None", "null", "=1+1",
        )),
        ("desk-notation", "prices as people on a desk write them", (
            "$1", "€1", "1 EUR", "4.5%", "(3.2)", "101-16", "101'16", "99 1/2", "~1", "1.5x", "n.a.", "-", "?", "12:30",
            "1 000", "1'000",
        )),
        ("unseen-in-price", "characters that look like others, or like nothing", (
            "\u22121.5", "\u20131.5", "1\u00a0000", "1.5\u00a0", "\uff11.\uff15", "\u0661.\u0665", "1\u200b.5", "½", "1²",
        )),
        ("error-texts", "errors and placeholders of spreadsheets, as text", (
            "#N/A", "#DIV/0!", "#NAME?", "#REF!", "#VALUE!", "#SPILL!", "#N/A N/A", "#N/A Invalid Security",
            "Retrieving...", "########", "#BEZUG!",
        )),
    ):  # fmt: skip
        yield Hazard(name, story, values_of("BID", *values))
    yield Hazard("comma-price", "1,5 in quotes, undeclared", lines("RIC,BID", 'A=X,"1,5"'))
    yield Hazard(
        "percent-points", "percent signs, declared as points", lines("RIC,BID", "A=X,4.5%", "B=X,4.5", "C=X,4.5%%"),
        {"A=X": "BID 4.5", "B=X": "BID 4.5"}, feed={"percent": "points"},
    )  # fmt: skip
    yield Hazard(
        "percent-fraction", "percent signs, declared as fractions", lines("RIC,BID", "A=X,4.5%", "B=X,0.045"),
        {"A=X": "BID 0.045", "B=X": "BID 0.045"}, feed={"percent": "fraction"},
    )  # fmt: skip
    yield Hazard("whole-number", "decimals in a whole-number field", lines("RIC,PROD_PERM", "A=X,1.5", "B=X,62.0", "C=X,65536", "D=X,-1"), {"B=X": "PROD_PERM 62"})  # fmt: skip


def _dates_times_and_names() -> Iterator[Hazard]:
    yield Hazard(
        "undeclared-dates",
        "dates in every notation but ISO's, and days that do not exist",
        values_of(
            "MATUR_DATE",
            *(
                "03/04/2026",
                "2026-02-30",
                "20261122",
                "22-Nov-26",
                "46348",
                "2026-1-2",
                "2026-11-22T00:00:00",
                "0000-00-00",
            ),
        ),
    )
    yield Hazard(
        "declared-dates",
        "day first, declared",
        lines("RIC,MATUR_DATE", "A=X,03/04/2026", "B=X,31/04/2026", "C=X,2026-04-03", "D=X,03/04/26"),
        {"A=X": 'MATUR_DATE "2026-04-03"'},
        feed={"date_format": "%d/%m/%Y"},
    )
    yield Hazard(
        "no-times",
        "no times of day",
        values_of("QUOTIM", "25:00", "4:30 PM", "16:60", "16h30", "16:30Z", "24:00:00", "9:05"),
    )
    yield Hazard("no-currencies", "almost a currency", values_of("CURRENCY", "eur", "EUR ", "EURO", "99999", "978.0"))
    yield Hazard("currency", "a currency by name and by number", lines("RIC,CURRENCY", "A=X,EUR", "B=X,978"), {"A=X": 'CURRENCY "EUR"', "B=X": 'CURRENCY "EUR"'})  # fmt: skip
    yield Hazard(
        "texts",
        "texts are taken exactly, or not at all",
        lines(
            "RIC,DSPLY_NAME",
            *("A=X,0012", "B=X,  two  ", "C=X,1.50", "D=X,NA", 'E=X,"a ""b"", c"', "F=X,seventeen letters", "G=X,Müller"),
            *("H=X,#N/A", 'I=X,"two\nlines"', "J=X,a\\b", "K=X,tab\there", "L=X,\u2028", "M=X,TRUE"),
        ),
        {
            **{"A=X": 'DSPLY_NAME "0012"', "B=X": 'DSPLY_NAME "  two  "', "C=X": 'DSPLY_NAME "1.50"', "D=X": 'DSPLY_NAME "NA"'},
            **{"E=X": 'DSPLY_NAME "a \\"b\\", c"', "J=X": 'DSPLY_NAME "a\\\\b"', "M=X": 'DSPLY_NAME "TRUE"'},
        },
    )  # fmt: skip


def _blanks() -> Iterator[Hazard]:
    yield Hazard(
        "blanks",
        "blank cells, spaces alone, and the token that clears",
        lines(HEADER, "A=X,,1.6", "B=X,  ,1.6", 'C=X,"",1.6', "D=X,#CLEAR,1.6", "E=X,#clear,1.6", "F=X,-,1.6"),
        {"A=X": "ASK 1.6", "B=X": "ASK 1.6", "C=X": "ASK 1.6", "D=X": "BID null ASK 1.6"},
    )
    yield Hazard(
        "declared-blanks", "texts that the feed declares blank", lines(HEADER, "A=X,-,1.6", "B=X,n/v,1.6", "C=X,N/V,1.6"),
        {"A=X": "ASK 1.6", "B=X": "ASK 1.6"}, feed={"blank": ("-", "n/v")},
    )  # fmt: skip
    yield Hazard("unseen-blank", "a no-break space alone in a cell", lines(HEADER, "A=X,\u00a0,1.6", GOOD), PUBLISHED)


def _encodings() -> Iterator[Hazard]:
    umlaut = ("RIC,BID,Währung", "A=X,1.5,x")
    ignoring: dict[str, Any] = {"ignore_columns": ("Währung",)}
    yield Hazard("cp1252", "Excel's CSV on Windows, undeclared", lines(*umlaut, encoding="cp1252"), feed=ignoring)
    yield Hazard(
        "cp1252-declared", "the same, declared", lines(*umlaut, encoding="cp1252"), {"A=X": "BID 1.5"},
        feed={**ignoring, "encoding": "cp1252"},
    )  # fmt: skip
    yield Hazard(
        "utf-8-as-cp1252",
        "UTF-8 that the feed declares cp1252",
        lines(*umlaut),
        feed={**ignoring, "encoding": "cp1252"},
    )
    yield Hazard("utf-16", "Excel's Unicode text, undeclared", lines(HEADER, GOOD, encoding="utf-16"))
    yield Hazard("utf-16-unmarked", "the same without a mark", lines(HEADER, GOOD, encoding="utf-16-le"))
    yield Hazard(
        "utf-16-declared",
        "the same, declared",
        lines(HEADER, GOOD, encoding="utf-16"),
        PUBLISHED,
        feed={"encoding": "utf-16"},
    )
    yield Hazard(
        "utf-16-odd",
        "the same, cut inside a character",
        lambda: lines(HEADER, GOOD, encoding="utf-16")()[:-1],
        feed={"encoding": "utf-16"},
    )
    yield Hazard("utf-32", "UTF-32", lines(HEADER, GOOD, encoding="utf-32"))
    yield Hazard(
        "not-utf-8", "one byte that is no UTF-8", lambda: lines(HEADER, GOOD)().replace(b"22.3", b"22.3\xff")
    )
    yield Hazard("ebcdic", "EBCDIC", lines(HEADER, GOOD, encoding="cp500"))
    yield Hazard("utf-7", "the feed declares UTF-7", lines("RIC,BID", "+AEE-=X,1.5"), feed={"encoding": "utf-7"}, published={"A=X": "BID 1.5"})  # fmt: skip
    yield Hazard(
        "no-text-encoding",
        "the feed declares what is no text encoding",
        lines(HEADER, GOOD),
        feed={"encoding": "rot13"},
    )


def _quotes_and_line_ends() -> Iterator[Hazard]:
    yield Hazard("unclosed-quote", "a quote is opened and never closed", lines(HEADER, GOOD, 'B=X,"1,2', "C=X,3,4"))
    yield Hazard(
        "inch-mark",
        "a quote inside an unquoted text",
        lines("RIC,DSPLY_NAME", 'A=X,5" pipe', "B=X,b"),
        note=QUOTES_NOTE,
    )
    yield Hazard("text-beside-quote", "text after a closing quote", lines(HEADER, 'A=X,"1"2,3', GOOD), PUBLISHED)
    yield Hazard("swallowed-rows", "two stray quotes with rows between them", lines("RIC,DSPLY_NAME", 'A=X,5" pipe', "B=X,b", 'C=X,6" pipe'), note=QUOTES_NOTE)  # fmt: skip
    yield Hazard(
        "quoted-rows", "quotes around two rows", lines("RIC,DSPLY_NAME", 'A=X,"a', "B=X,b", 'C=X,"c', "D=X,d")
    )
    yield Hazard("line-feeds", "Unix line ends", lines(HEADER, GOOD, end="\n"), PUBLISHED)
    yield Hazard("carriage-returns", "old Mac line ends", lines(HEADER, GOOD, end="\r"), PUBLISHED)
    yield Hazard(
        "mixed-line-ends", "one lone carriage return among them", raw(b"RIC,BID,ASK\r\nGOOD=X,22.1,22.3\rB=X,1,2\r\n")
    )
    yield Hazard(
        "crlf-and-lf", "CR LF and LF side by side", raw(b"RIC,BID,ASK\r\nGOOD=X,22.1,22.3\nB=X,x,2\r\n"), PUBLISHED
    )
    yield Hazard("double-cr", "CR CR LF, a text transfer gone wrong", raw(b"RIC,BID,ASK\r\r\nGOOD=X,22.1,22.3\r\r\n"))


def _hostile_text() -> Iterator[Hazard]:
    yield Hazard(
        "formula-injection",
        "texts that a spreadsheet program would run",
        lines("RIC,DSPLY_NAME,BID", "=cmd|'/C calc'!A0,x,1", "@SUM(1),+1+1,2", "A=X,=1+1,=1+1", "-2+3,\tb,1"),
        {"=cmd|'/C calc'!A0": 'DSPLY_NAME "x" BID 1', "@SUM(1)": 'DSPLY_NAME "+1+1" BID 2'},
        note="They are RICs and texts like any other; the report makes them safe.",
    )
    yield Hazard(
        "html-injection",
        "texts that a browser would run",
        lines("RIC,DSPLY_NAME,BID", "<script>alert(1)</script>,x,1", "A=X,<b>bold</b>,<img src=x>", "B=X,1,2,<svg onload=x>"),
        {"<script>alert(1)</script>": 'DSPLY_NAME "x" BID 1'},
    )  # fmt: skip


def _limits() -> Iterator[Hazard]:
    yield Hazard(
        "too-many-rows", "more rows than `max_rows`", lines(HEADER, *["A=X,1,2"] * 11), feed={"max_rows": 10}
    )
    yield Hazard(
        "too-many-bytes", "more bytes than `max_bytes`", lines(HEADER, *["A=X,1,2"] * 11), feed={"max_bytes": 64}
    )
    yield Hazard(
        "too-wide", "20,000 columns", lambda: (",".join(["RIC", *map(str, range(20_000))]) + "\nA=X\n").encode()
    )
    yield Hazard("too-long-a-cell", "a cell of 5 million characters", lines("RIC,DSPLY_NAME,BID", f"A=X,{'x' * 5_000_000},1", "B=X,b,2"), {"B=X": 'DSPLY_NAME "b" BID 2'})  # fmt: skip
    yield Hazard("copy-in-a-malformed-line", "a second price of a RIC, in a line that lost a delimiter", lines("RIC,BID,ASK", "A=X,1,2", "A=X,5", "B=X,3,4"), {"B=X": "BID 3 ASK 4"}, note="Which of the two was meant cannot be told.")  # fmt: skip
    yield Hazard("copy-in-a-shifted-line", "the same in a line whose cells stand one further", lines("RIC,BID,ASK", "x,A=X,1,2", "A=X,5,6", "A=X,5,6", "B=X,3,4"), {"B=X": "BID 3 ASK 4"})  # fmt: skip
    yield Hazard("copy-beside-a-quote", "the same in a line whose quotes cannot be trusted", lines("RIC,BID", 'A=X,1', '"A=X"x,2', "B=X,3"), {"B=X": "BID 3"})  # fmt: skip
    yield Hazard("not-utf-16", "UTF-8 where the feed says UTF-16", lines("RIC,BID", "A=X,1"), feed={"encoding": "utf-16"})  # fmt: skip
    yield Hazard("endless-exponent", "a number of 100,000 digits", lines("RIC,BID", f"A=X,{'9' * 100_000}", f"B=X,1e{'9' * 100_000}", "C=X,1"), {"C=X": "BID 1"})  # fmt: skip
