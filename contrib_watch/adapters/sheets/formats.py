"""What a person sees of a stored value: the number formats of cells (ECMA-376 part 1, 18.8.30 and 18.8.31).

A format is harmless where it shows the stored number, be it rounded, grouped, padded, coloured or with a unit beside
it. Only what is certainly so passes; any other format *disguises* its cells, which are then rejected.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import IntEnum
from fractions import Fraction
from functools import cached_property

from contrib_watch.core.model import CellKind

_BUILT_IN = {
    9: "0%",
    10: "0.00%",
    12: "# ?/?",
    13: "# ??/??",
}
"""The formats without a definition in the workbook that show more than the number."""

_HARMLESS_BUILT_IN = frozenset({*range(9), 11, *range(14, 23), *range(27, 37), *range(37, 50), *range(50, 59)})
"""Those that show the number, and those that make it a date, which calamine knows. All others (59 to 81 are Thai
fractions, percentages and dates) differ from country to country."""

_TOKEN = re.compile(
    r"""
      "(?P<quoted>[^"]*)(?:"|$) | \\(?P<escaped>.) | _(?P<room>.) | \*(?P<fill>.) | \[(?P<bracket>[^\]]*)\]
    | (?P<general>General) | (?P<moment>[dmyhs]|AM/PM|A/P) | (?P<exponent>E[+-]) | (?P<code>[0\#?.,%@/]) | (?P<end>;)
    | (?P<bare>.)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_SYMBOL = re.compile(r"\$(?P<symbol>[^-]*)(?:-.*)?")
_COLOUR = re.compile(r"black|blue|cyan|green|magenta|red|white|yellow|colou?r ?\d+", re.IGNORECASE)
_CONDITION = re.compile(r"(?P<operator>[<>]=?|=|<>) *(?P<limit>-?\d+(?:\.\d+)?)")
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)

_NUMBER = re.compile(
    r"[LS%]*(?:[G@]|(?=\.?[0#?])(?:[0#?]+(?:,[0#?]+)*(?:S[0#?]{3})*)?(?:\.[0#?]*)?(?:E[0#?]+)?)[LS%]*"
)
"""A number as it is stored: digits, groups of three, a point, a percent sign, with literals before and behind."""

_GROUP_MARKS = frozenset(" \u00a0\u2009\u202f'\u2019")
_DASHES = str.maketrans("\u2010\u2011\u2012\u2013\u2212", "-----")
_IN_WORDS = re.compile(r"(?<=[^\W\d_])[-'\u2019](?=[^\W\d_])|(?<=[^\W\d_])[.:]|\([^\d()%]*[^\W\d_][^\d()%]*\)")
"""Marks that belong to words: ``US-Dollar``, ``Fr.``, ``Bid:``, ``(EUR)``."""

_SCALES = re.compile(
    r"[kmtbgolj]|mm|mn|mio|mill|mln|mld|mia|mrd|md|bn|bio|tsd|th|thd|tn|trn|cr|crores?|lacs?|lakhs?|dozen"
    r"|hundreds?|hundert|thousands?|tausend|mil|mille|million(?:s|en)?|billion(?:s|en)?|trillion(?:s|en)?"
    r"|milliarden?|milliards?|bps?|bips?|pct|perc|percent|pp|prozent|proz|vh|permille|promille|pp[mb]|thsd|dz"
)
"""Words beside a number that make another number of it (or look like a digit)."""

_JOINED = r"(?i:[kmtb]|mm|mn|mio|mill?|mln|mld|mrd|md|bn|bio|tsd|thd?|thsd|tn|trn|cr)"
_MAJOR = r"(?i:eur|usd|chf|gbp|jpy|cny|aud|cad|nzd|sek|nok|dkk|pln|czk|huf|hkd|sgd|krw|inr|brl|mxn|zar|try)"
_SCALED_CODE = re.compile(rf"{_JOINED}(?:[A-Z]{{3}}|{_MAJOR})|(?:[A-Z]{{3}}|{_MAJOR}){_JOINED}")
"""The same joined to a currency, before it or behind: ``TEUR``, ``USDmn``, ``kSEK``."""

_HARMLESS = frozenset({"Zs", "Sc", "Mn"})
"""Categories of characters: spaces, currencies, accents."""

_EXACT = Context(prec=400)


def defined_format(number: int, codes: Mapping[int, str]) -> NumberFormat:
    """The format of this ``numFmtId``, by its definition in the workbook (``codes``) or as one of Excel's own.

    One that nobody has defined disguises whatever has it.
    """
    if number in codes:
        return NumberFormat.of(codes[number])
    if number in _HARMLESS_BUILT_IN:
        return NumberFormat.of("General")
    if number in _BUILT_IN:
        return NumberFormat.of(_BUILT_IN[number])
    disguised = CellKind.DISGUISED
    return NumberFormat(f"number {number}, which has no definition", (disguised,) * 3, shows_text=False, sections=())


class _Sign(IntEnum):
    POSITIVE = 0
    NEGATIVE = 1
    ZERO = 2


@dataclass(frozen=True)
class _Section:
    """One of the up to four parts of a format."""

    tokens: tuple[tuple[str, str], ...]
    """A mark and its text: a code character, G (General), E, D (part of a moment), L (literal), S (room, or a mark
    between groups of digits), X (what is not understood)."""
    is_red: bool = False
    condition: tuple[str, Decimal] | None = None

    @cached_property
    def marks(self) -> str:
        return "".join(mark for mark, _ in self.tokens)

    @property
    def is_optional(self) -> bool:
        """Whether it shows nothing of a number that rounds to nothing: ``#,###`` of 0.3."""
        return bool(set("#?") & set(self.marks)) and not set("0GDE@X") & set(self.marks)

    @cached_property
    def affixes(self) -> tuple[str, str]:
        """The literals before and behind the number."""
        starts = next((index for index, mark in enumerate(self.marks) if mark not in "LS%X"), len(self.tokens))
        before, behind = self.tokens[:starts], self.tokens[starts:]
        return _spaced(before), _spaced(behind)


@dataclass(frozen=True)
class NumberFormat:
    """One format and what it does to the values in its cells."""

    code: str
    kinds: tuple[CellKind, CellKind, CellKind]
    """Of a positive number, a negative one, and zero: NUMBER, PERCENT or DISGUISED. A date's is NUMBER, too: that it
    is one is found elsewhere."""
    shows_text: bool
    """Texts are seen as they are stored."""
    sections: tuple[_Section, ...]
    """For numbers."""

    @classmethod
    def of(cls, code: str) -> NumberFormat:
        """The format with this code, as a workbook has it (in English notation)."""
        sections = list(_sections(code))
        text = None
        if (len(sections) > 1 and "@" in sections[-1].marks) or len(sections) == 4:
            text = sections.pop()
        elif "@" in sections[-1].marks:
            text = sections[-1]
        shows_text = text is None or (set(text.marks) <= {"S", "@"} and text.marks.count("@") == 1)
        return cls(code, _kinds(sections), shows_text, tuple(sections))

    @property
    def is_plain(self) -> bool:
        """Whether every value is seen as it is stored."""
        return self.shows_text and set(self.kinds) == {CellKind.NUMBER} and not self._may_show_no_digit

    def kind(self, number: float) -> CellKind:
        """What a cell with this number is to a person: NUMBER, PERCENT or DISGUISED."""
        kind = self.kinds[_sign(number)]
        if number == 0 or kind is CellKind.DISGUISED or not self._may_show_no_digit:
            return kind
        exact = Decimal(repr(number))
        section = self._section(exact)
        is_seen = not section.is_optional or any(map(str.isdigit, _rendered(section, abs(exact))))
        return kind if is_seen else CellKind.DISGUISED

    @cached_property
    def _may_show_no_digit(self) -> bool:
        return any(section.is_optional for section in self.sections)

    def disguise(self, number: str) -> str:
        """The words for a disguised number: ``1234 (seen as 1 in the format 0,)``."""
        return f"{number} (seen as {self.seen(Decimal(number))} in the format {self.code or 'that is empty'})"

    def disguise_text(self, text: str) -> str:
        """The same for a text."""
        return f"{text} (not seen so in the format {self.code})"

    def seen(self, number: Decimal) -> str:
        """What a person sees of the number; "something else" where that takes a spreadsheet program to tell."""
        if not 1 <= len(self.sections) <= 3:
            return "something else"
        section = self._section(number)
        if set("XDE") & set(section.marks):
            return "something else"
        seen = _rendered(section, abs(number)).strip()
        if number < 0 and any(part.condition for part in self.sections):
            return f"{seen}, perhaps without its sign"
        sign = "-" if number < 0 and section is self.sections[0] else ""
        return f"{sign}{seen}" if seen else "nothing"

    def _section(self, number: Decimal) -> _Section:
        if any(section.condition for section in self.sections):
            return next((part for part in self.sections if _holds(part.condition, number)), self.sections[-1])
        index = int(_sign(float(number)))
        return self.sections[index if index < len(self.sections) else 0]


def _sign(number: float) -> _Sign:
    if number == 0:
        return _Sign.ZERO
    return _Sign.POSITIVE if number > 0 else _Sign.NEGATIVE


def _holds(condition: tuple[str, Decimal] | None, number: Decimal) -> bool:
    if condition is None:
        return True
    operator, limit = condition
    return (number < limit and "<" in operator) or (number > limit and ">" in operator) or (
        number == limit and "=" in operator
    )  # fmt: skip


def _sections(code: str) -> Iterator[_Section]:
    tokens: list[tuple[str, str]] = []
    is_red = False
    condition = None
    for found in _TOKEN.finditer(code):
        kind = str(found.lastgroup)
        text = found[kind]
        match kind:
            case "end":
                yield _Section(tuple(tokens), is_red, condition)
                tokens, is_red, condition = [], False, None
            case "bracket" if limit := _CONDITION.fullmatch(text):
                condition = limit["operator"], Decimal(limit["limit"])
            case "bracket" if _COLOUR.fullmatch(text):
                is_red = is_red or text.casefold() == "red"
            case _:
                tokens += _token(kind, text)
    yield _Section(tuple(tokens), is_red, condition)


def _token(kind: str, text: str) -> list[tuple[str, str]]:
    match kind:
        case "code":
            return [(text, text)]
        case "general":
            return [("G", "")]
        case "exponent":
            return [("E", "E")]
        case "moment":
            return [("D", text)]
        case "room":
            return [("S", " ")]
        case "bracket" if symbol := _SYMBOL.fullmatch(text):
            return _token("quoted", symbol["symbol"])
        case "bracket":
            return [("D" if _ELAPSED.fullmatch(text) else "X", text)]
    if not text:
        return []
    return [("S" if _GROUP_MARKS.issuperset(text) else "L", text)]


def _kinds(sections: Sequence[_Section]) -> tuple[CellKind, CellKind, CellKind]:
    disguised = CellKind.DISGUISED
    if len(sections) > 3:
        return disguised, disguised, disguised
    if "D" in sections[0].marks:
        is_number_hidden = any(char.isnumeric() for affix in sections[0].affixes for char in affix)
        return (disguised if is_number_hidden else CellKind.NUMBER,) * 3
    if any(section.condition for section in sections):
        # Which section shows a number is the number's doing, so that all of them must be harmless and alike.
        kinds = {_kind(section, sign) for section in sections for sign in (_Sign.POSITIVE, _Sign.ZERO)}
        kind = kinds.pop() if len(kinds) == 1 else disguised
        return kind, disguised, kind
    positive = _kind(sections[0], _Sign.POSITIVE)
    if len(sections) == 1:
        # Excel writes the minus sign itself.
        negative = disguised if "+" in "".join(sections[0].affixes) else positive
    else:
        # Red tells the negative numbers only where the positive ones are not red, too.
        is_told_by_red = sections[1].is_red and not sections[0].is_red
        negative = _kind(replace(sections[1], is_red=is_told_by_red), _Sign.NEGATIVE)
    return positive, negative, _kind(sections[2 if len(sections) > 2 else 0], _Sign.ZERO)


def _kind(section: _Section, sign: _Sign) -> CellKind:
    marks = section.marks
    if sign is _Sign.ZERO and not set("0G@") & set(marks):
        return CellKind.NUMBER if _is_dash(section) else CellKind.DISGUISED
    if _NUMBER.fullmatch(marks) is None or marks.count("%") > 1:
        return CellKind.DISGUISED
    affixes = _without_sign(section, sign)
    if affixes is None or affixes[0].endswith(".") or not all(map(_is_unit, affixes)):
        return CellKind.DISGUISED
    return CellKind.PERCENT if "%" in marks else CellKind.NUMBER


def _is_dash(section: _Section) -> bool:
    """Accountants' zero, ``-``, with a currency or without."""
    text = _joined(section.tokens).translate(_DASHES)
    rest = [char for char in text if unicodedata.category(char) not in ("Zs", "Sc", "Lu", "Ll")]
    return set(section.marks) <= set("LS?#") and rest == ["-"]


def _without_sign(section: _Section, sign: _Sign) -> tuple[str, str] | None:
    """The affixes without the sign that such a number should have; None where it has none or another one."""
    before, behind = (affix.translate(_DASHES) for affix in section.affixes)
    if sign is not _Sign.NEGATIVE:
        return before.replace("+", "", 1), behind
    if "-" in before:
        return before.replace("-", "", 1), behind
    if "(" in before and ")" in behind:
        return before.replace("(", "", 1), behind.replace(")", "", 1)
    if behind.rstrip().endswith("-"):
        return before, behind.rstrip().removesuffix("-")
    # Excel's own notation without a sign is red.
    return (before, behind) if section.is_red else None


def _is_unit(text: str) -> bool:
    """Whether a text beside a number leaves it what it is: a currency, a unit, a name."""
    words = re.findall(r"[^\W\d_]+", text)
    if any(char.isnumeric() for char in text) or any(_SCALES.fullmatch(word.casefold()) for word in words):
        return False
    if any(map(_SCALED_CODE.fullmatch, words)):
        return False
    rest = _IN_WORDS.sub("", text)
    return all(char in "/&*" or _is_latin(char) or unicodedata.category(char) in _HARMLESS for char in rest)


def _is_latin(char: str) -> bool:
    """Scales in other scripts (``млн``, ``万``) are many, and no reader of ours would know them all."""
    return unicodedata.name(char, "").startswith("LATIN ")


def _joined(tokens: Sequence[tuple[str, str]]) -> str:
    return "".join(text for mark, text in tokens if mark in "LS")


def _spaced(tokens: Sequence[tuple[str, str]]) -> str:
    """The literals, with a space for each mark between groups."""
    return "".join(text if mark == "L" else " " for mark, text in tokens if mark in "LS")


def _rendered(section: _Section, number: Decimal) -> str:
    """A number that is not negative as the section shows it, but for columns' widths."""
    if not set("0#?G@") & set(section.marks):
        return _joined(section.tokens)
    if "/" in section.marks:
        return _fraction(section, number)
    whole, decimals = _placed(section, number)
    shown = []
    for mark, text in section.tokens:
        if mark in "0#?":
            shown.append((whole or decimals).pop(0))
        elif mark == ".":
            shown.append("".join(whole) + ".")
            whole = []
        elif mark in "G@":
            shown.append(f"{number:f}")
        elif mark not in ",EX":
            shown.append(text)
    return "".join(shown)


def _placed(section: _Section, number: Decimal) -> tuple[list[str], list[str]]:
    """What stands in the places of the digits before the point and behind it."""
    marks = re.sub("[^0#?.,E]", "", section.marks)
    left, _, right = marks.partition(".")
    scale = 2 * section.marks.count("%") - 3 * sum(len(part) - len(part.rstrip(",")) for part in (left, right))
    scaled = number.scaleb(scale, _EXACT)
    places = re.findall("[0#?]", right)
    text = f"{scaled.quantize(Decimal(1).scaleb(-len(places)), ROUND_HALF_UP, _EXACT):f}"
    whole, _, decimals = text.partition(".")
    while decimals.endswith("0") and places and places[-1] != "0":
        places.pop()
        decimals = decimals[:-1]
    behind = [*decimals, *[""] * (len(re.findall("[0#?]", right)) - len(decimals))]
    width, least = len(re.findall("[0#?]", left)), left.count("0")
    whole = whole.lstrip("0").zfill(least) if whole.strip("0") or least else ""
    if "," in left.rstrip(","):
        return [f"{int(whole or 0):,}" if whole else "", *[""] * (width - 1)], behind
    if len(whole) >= width:
        extra = len(whole) - width
        return ([whole[: extra + 1], *whole[extra + 1 :]] if width else [whole]), behind
    return [*[""] * (width - len(whole)), *whole], behind


def _fraction(section: _Section, number: Decimal) -> str:
    codes = "".join(text for mark, text in section.tokens if mark in "0#?/" or text.isdigit())
    below = codes.partition("/")[2]
    if below.isdigit() and below.strip("0"):
        value = Fraction(round(number * int(below)), int(below))
        top, bottom = value.numerator * (int(below) // value.denominator), int(below)
    else:
        value = Fraction(number).limit_denominator(10 ** min(len(below), 4) - 1) if below else Fraction(number)
        top, bottom = value.numerator, value.denominator
    whole, top = divmod(top, bottom)
    return f"{whole} {top}/{bottom}" if whole and top else f"{top}/{bottom}" if top else str(whole)
