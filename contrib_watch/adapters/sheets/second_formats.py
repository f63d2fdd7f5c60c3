"""What a number format shows, for the second reading: judged by other means than in ``formats``, on purpose.

The format is taken apart character by character into what stands for digits and what is shown as it is; the number is
seen as it is stored where the digits are in one piece and nothing beside them can be read as a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from openpyxl.styles.numbers import BUILTIN_FORMATS

from contrib_watch.core.model import CellKind

_LITERAL = "\0"
_DIGITS = re.compile(r"General|@|(?:[0#?]++(?:,(?=[0#?])|(?: [0#?]{3})++(?![0#?]))?)*+(?:\.[0#?]*)?(?:E[+-][0#?]+)?")
_WORDED = re.compile(r"\([^\W\d_][^()]*\)|(?<=[^\W\d_])-(?=[^\W\d_])")
_ACCOUNTING = '_("$"* #,##0.00_);_("$"* \\(#,##0.00\\);_("$"* "-"??_);_(@_)'
"""Format 44, of which openpyxl lacks the semicolons."""


@dataclass
class _Part:
    layout: str = ""
    """Characters that stand for digits, and NUL for one that is shown as it is."""
    literal: str = ""
    picture: str = ""
    """What is shown as it is, and NUL for what is not."""
    brackets: str = ""

    def show(self, text: str) -> None:
        self.literal += text
        self.picture += text
        self.layout += "".join(" " if mark in " \u00a0\u2009\u202f'\u2019" else _LITERAL for mark in text)

    def kind(self, sign: int, *, alone: bool) -> CellKind:
        """What a number of this sign (-1, 0, 1) is in this part."""
        digits = self.layout.strip(f"% {_LITERAL}")
        literal = _WORDED.sub("", self.literal.replace("\u2212", "-").replace("\u2013", "-"))
        is_signed = "-" in literal or "(" in literal
        is_blank = sign == 0 and not re.search("0|General|@", digits)
        if is_blank:
            is_seen = literal.count("-") == 1 and not any(map(str.isnumeric, literal))
        elif sign < 0 and not alone:
            is_seen = (is_signed or "[red]" in self.brackets) and "+" not in literal
        else:
            is_seen = not is_signed and not (sign < 0 and "+" in literal)
        if not is_seen or (not is_blank and not self._is_whole(digits)):
            return CellKind.DISGUISED
        return CellKind.PERCENT if "%" in self.layout and not is_blank else CellKind.NUMBER

    def _is_whole(self, digits: str) -> bool:
        is_number = digits not in ("", ".") and _DIGITS.fullmatch(digits) is not None
        is_changed = any(mark.isnumeric() or mark in "%\u2030\u2031\u066a\uff05" for mark in self.literal)
        is_pointed = re.search(rf"(?<![^\W\d_])[.,]|\.{_LITERAL}", self.picture) is not None
        return is_number and not is_changed and not is_pointed and self.layout.count("%") < 2


@cache
def kind_shown(code: str, sign: int) -> CellKind:
    """NUMBER, PERCENT or DISGUISED: how a number of this sign (-1, 0, 1) is seen in the format."""
    parts = _parts(_ACCOUNTING if code == BUILTIN_FORMATS[44] else code)
    if len(parts) > 1 and ("@" in parts[-1].layout or len(parts) == 4):
        parts.pop()
    if len(parts) > 3:
        return CellKind.DISGUISED
    if any(re.search("[<>=]", part.brackets) for part in parts):
        kinds = {part.kind(each, alone=True) for part in parts for each in (0, 1)}
        return kinds.pop() if len(kinds) == 1 and sign >= 0 else CellKind.DISGUISED
    if "[red]" in parts[0].brackets and len(parts) > 1:
        parts[1].brackets = ""
    index = {1: 0, -1: 1, 0: 2}[sign]
    return parts[index if index < len(parts) else 0].kind(sign, alone=len(parts) == 1)


def _parts(code: str) -> list[_Part]:
    part = _Part()
    parts = [part]
    marks = iter(code)
    for mark in marks:
        if mark == '"':
            part.show("".join(iter(lambda: next(marks, '"'), '"')))
        elif mark in "\\*":
            part.show(next(marks, ""))
        elif mark == "_":
            next(marks, "")
            part.show(" ")
        elif mark == "[":
            inside = "".join(iter(lambda: next(marks, "]"), "]"))
            if inside.startswith("$"):
                part.show(inside[1:].partition("-")[0])
            else:
                part.brackets += f"[{inside}]".casefold()
        elif mark == ";":
            part = _Part()
            parts.append(part)
        elif mark in "0#?.,%@/" or mark.isalpha() or (mark in "+-" and part.layout.endswith("E")):
            part.layout += mark
            part.picture += _LITERAL
        else:
            part.show(mark)
    return parts
