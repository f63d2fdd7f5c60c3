"""The texts that a workbook's cells share, as they are shown."""

from __future__ import annotations

import re

from contrib_watch.adapters.sheets.markup import Attributes, walk
from contrib_watch.adapters.sheets.styles import alteration
from contrib_watch.core.model import CellKind

_BLANKS = " \t\r\n"
_ALTERING = re.compile(rb"[<:](?:strike|vertAlign)[\s/>]")


def shared_strings(part: bytes) -> list[str]:
    """The texts that cells refer to by number, without phonetic guides, escapes still in place."""
    texts: list[str] = []
    pieces: list[str] = []
    phonetic = taking = keeps_blanks = False
    begin = 0

    def element(tag: str, attributes: Attributes) -> None:
        nonlocal phonetic, taking, keeps_blanks, begin
        if tag == "si":
            pieces.clear()
        elif tag == "rPh":
            phonetic = True
        elif tag == "t":
            taking = not phonetic
            keeps_blanks, begin = blanks_are_kept(attributes), len(pieces)

    def end(tag: str) -> None:
        nonlocal phonetic, taking
        if tag == "t":
            taking = False
            if not keeps_blanks:
                pieces[begin:] = [as_shown("".join(pieces[begin:]))]
        elif tag == "rPh":
            phonetic = False
        elif tag == "si":
            texts.append("".join(pieces))

    def characters(text: str) -> None:
        if taking:
            pieces.append(text)

    walk(part, element, end, characters)
    return texts


def has_altered_texts(strings: bytes) -> bool:
    """Whether some of the shared texts may have a part that is raised, lowered or struck out."""
    return _ALTERING.search(strings) is not None


def altered_texts(part: bytes) -> dict[int, CellKind]:
    """The numbers of the shared texts of which a part is struck out (STRUCK), raised or lowered (RAISED): ``101.5``
    with a footnote's sign is stored as ``101.51``.
    """
    found: dict[int, CellKind] = {}
    number = 0

    def element(tag: str, attributes: Attributes) -> None:
        if kind := alteration(tag, attributes):
            found[number] = min(kind, found.get(number, kind))

    def end(tag: str) -> None:
        nonlocal number
        number += tag == "si"

    walk(part, element, end)
    return found


def blanks_are_kept(text: Attributes) -> bool:
    """Whether the blanks at the ends of a ``<t>`` are seen; Excel leaves them out unless it is told to keep them."""
    return text.get("xml:space") == "preserve"


def as_shown(text: str) -> str:
    """A text without the blanks at its ends; one of blanks alone stays, because openpyxl writes it so."""
    return text.strip(_BLANKS) or text
