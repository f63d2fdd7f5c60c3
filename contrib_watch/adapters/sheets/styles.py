"""What a workbook's styles do to the values in its cells."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from contrib_watch.adapters.sheets.formats import NumberFormat, defined_format
from contrib_watch.adapters.sheets.markup import Attributes, BrokenMarkup, index_of, may_be_true, walk
from contrib_watch.core.model import CellKind


@dataclass(frozen=True)
class Styles:
    """What a workbook's styles do to the values in its cells."""

    cells: Mapping[int, NumberFormat] = field(default_factory=dict)
    """The formats that do not show every value as it is stored, by a cell's ``s``."""
    struck: Set[int] = frozenset()
    """Each ``s`` that strikes a cell out."""
    rules: Mapping[int, NumberFormat] = field(default_factory=dict)
    """Such formats of conditional formatting, by a rule's ``dxfId``."""
    striking: Set[int] = frozenset()
    """Each ``dxfId`` that strikes a cell out."""
    count: int = 1
    """How many styles a cell's ``s`` may choose from; without any definition, there is the one of all cells."""


def read_styles(styles: bytes) -> Styles:
    """What the styles in ``xl/styles.xml`` do to values."""
    codes: dict[int, str] = {}
    by_cell: list[int] = []
    by_rule: list[str] = []
    fonts: list[bool] = []  # struck out?
    font_of: list[int] = []
    striking: set[int] = set()
    sections: list[str] = []

    def element(tag: str, attributes: Attributes) -> None:
        if tag == "cellXfs" and by_cell:
            raise BrokenMarkup("its styles are listed twice")
        match tag, sections[-1:]:
            case "numFmt", ["numFmts"]:
                number, code = index_of(attributes["numFmtId"]), attributes.get("formatCode", "")
                if codes.setdefault(number, code) != code:
                    raise BrokenMarkup(f"its number format {number} has two definitions")
            case "xf", ["cellXfs"]:
                by_cell.append(index_of(attributes.get("numFmtId", "0")))
                font_of.append(index_of(attributes.get("fontId", "0")))
            case "font", ["fonts"]:
                fonts.append(False)
            case "strike", ["font"] if alteration(tag, attributes):
                if "dxf" in sections:
                    striking.add(len(by_rule) - 1)
                else:
                    fonts[-1] = True
            case "dxf", ["dxfs"]:
                by_rule.append("General")
            case "numFmt", ["dxf"]:
                by_rule[-1] = attributes.get("formatCode", "")
        sections.append(tag)

    def end(_: str) -> None:
        sections.pop()

    walk(styles, element, end)
    formats = {number: defined_format(number, codes) for number in set(by_cell)}
    rules = enumerate(map(NumberFormat.of, by_rule))
    return Styles(
        cells={index: formats[number] for index, number in enumerate(by_cell) if not formats[number].is_plain},
        struck={index for index, font in enumerate(font_of) if fonts[font : font + 1] == [True]},
        rules={index: shown for index, shown in rules if not shown.is_plain},
        striking=striking,
        count=len(by_cell) or 1,
    )


def alteration(tag: str, attributes: Attributes) -> CellKind | None:
    """What a property of a font makes of a text: STRUCK, RAISED or nothing."""
    if tag == "strike" and may_be_true(attributes.get("val", "1")):
        return CellKind.STRUCK
    return CellKind.RAISED if tag == "vertAlign" and attributes.get("val") != "baseline" else None
