"""A workbook as a whole: its sheets, the parts that belong to it, and the way into it for calamine.

calamine finds the styles and the shared strings by their usual names, Excel by the workbook's relationships. Where
these are not the same parts, values would be published under other formats or texts than a person sees.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from python_calamine import CalamineError, CalamineWorkbook

from contrib_watch.adapters.sheets.markup import Attributes, BrokenMarkup, may_be_false, may_be_true, walk
from contrib_watch.adapters.sheets.package import Package
from contrib_watch.errors import UnreadableFile

_WORKBOOK = "xl/workbook.xml"
_SINGLE = {"styles": "xl/styles.xml", "sharedStrings": "xl/sharedStrings.xml"}
"""Parts that a workbook has once at most, where calamine looks for them."""

_STRICT = b"http://purl.oclc.org/ooxml/"
_PLAIN_PATH = re.compile(r"(?:[\w-][\w .-]*/)*[\w-][\w .-]*", re.ASCII)


@dataclass(frozen=True)
class SheetEntry:
    """A sheet as the workbook lists it."""

    name: str
    visible: bool
    part: str
    """The name of its part in the zip; empty where it is not a sheet of cells (a chart)."""


@dataclass(frozen=True)
class Book:
    """What the workbook says of itself."""

    sheets: tuple[SheetEntry, ...]
    recalculates: bool
    """The stored results are no results: ``fullCalcOnLoad``, which libraries that cannot calculate write, or
    ``calcCompleted="0"``, which Excel writes where somebody saved before it had recalculated."""


@dataclass(frozen=True)
class _Relation:
    identity: str
    kind: str
    """The last part of its type: ``worksheet``, ``styles``."""
    target: str


def read_book(package: Package) -> Book:
    """The sheets in their order, after making sure that all programs find them in the same parts.

    Raises:
        UnreadableFile: saved as Strict Open XML; a part that is not where calamine looks for it, or beside the one
            that the workbook names; two sheets of one name.
        BrokenMarkup: not well-formed.
    """
    workbook, relations = package.read_xml(_WORKBOOK), package.read_xml("xl/_rels/workbook.xml.rels")
    _refuse_strict(package, workbook, relations)
    top = [_part("", relation) for relation in _relations(package.read_xml("_rels/.rels"), "officeDocument")]
    if top != [_WORKBOOK]:
        raise package.refuse(f'the workbook is not in its usual part "{_WORKBOOK}"')
    _check_single_parts(package, _relations(relations, *_SINGLE))
    sheets = _relations(relations, "worksheet")
    parts = {relation.identity: _part("xl/", relation) for relation in sheets}
    if missing := [part for part in parts.values() if part not in package]:
        raise package.refuse(f'the workbook lacks its part "{missing[0]}"')
    if len(parts) != len(sheets):
        raise package.refuse("the workbook gives one sheet two parts")
    book = _book(workbook, parts)
    names = Counter(entry.name.casefold() for entry in book.sheets)
    if twice := [entry.name for entry in book.sheets if names[entry.name.casefold()] > 1]:
        raise package.refuse(f'the workbook has two sheets of one name, "{twice[0]}"')
    return book


def _refuse_strict(package: Package, *parts: bytes) -> None:
    if any(_STRICT in part for part in parts):
        raise UnreadableFile(
            "the workbook was saved as Strict Open XML Spreadsheet, which not all programs read alike",
            where=package.filename,
            hint="Save it in Excel as the type Excel Workbook (.xlsx), not Strict",
        )


def _check_single_parts(package: Package, relations: list[_Relation]) -> None:
    for kind, usual in _SINGLE.items():
        found = [_part("xl/", relation) for relation in relations if relation.kind == kind]
        if found != ([usual] if usual in package else []):
            named = ", ".join(f'"{part}"' for part in found) or "none"
            raise package.refuse(
                f'the workbook names {named} for its {kind}, and some programs read "{usual}" instead,'
                " with other values"
            )


def _relations(part: bytes, *kinds: str) -> list[_Relation]:
    """The relationships of these kinds; in any namespace, as programs read them."""
    found: list[_Relation] = []

    def relation(tag: str, attributes: Attributes) -> None:
        kind = attributes.get("Type", "").rpartition("/")[2]
        if tag == "Relationship" and kind in kinds:
            found.append(_Relation(attributes["Id"], kind, attributes["Target"]))

    walk(part, relation)
    return found


def _part(folder: str, relation: _Relation) -> str:
    """The part's name, from one of the two spellings that all programs read alike: from the root, or from ``folder``
    (calamine takes ``xl/x.xml`` for the first, other programs for the second).
    """
    target = relation.target
    name = target.removeprefix("/") if target.startswith("/") else folder + target
    if not _PLAIN_PATH.fullmatch(name) or name.startswith("xl/xl/"):
        raise BrokenMarkup(f'"{target}" is no plain name of a part')
    return name


def _book(workbook: bytes, parts: dict[str, str]) -> Book:
    sheets: list[SheetEntry] = []
    recalculates = False

    def element(tag: str, attributes: Attributes) -> None:
        nonlocal recalculates
        if tag == "sheet":
            identity = next((value for name, value in attributes.items() if name.rpartition(":")[2] == "id"), "")
            is_visible = attributes.get("state", "visible") == "visible"
            sheets.append(SheetEntry(attributes["name"], is_visible, parts.get(identity, "")))
        elif tag == "calcPr":
            recalculates |= may_be_true(attributes.get("fullCalcOnLoad"))
            recalculates |= may_be_false(attributes.get("calcCompleted"))

    walk(workbook, element)
    return Book(tuple(sheets), recalculates)


@contextmanager
def opened(content: bytes, package: Package) -> Iterator[CalamineWorkbook]:
    """The workbook for calamine, whose errors and panics refuse the file."""
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(content)) as workbook:
            yield workbook
    except UnreadableFile:
        raise
    except (CalamineError, ValueError, OSError) as error:
        raise package.refuse(f"the workbook cannot be read: {error}") from error
    except BaseException as panic:
        # A panic of the Rust parser arrives as a bare BaseException, and would otherwise end the program.
        if type(panic).__name__ != "PanicException":
            raise
        raise package.refuse("the workbook cannot be read: the parser gave up on it") from panic
