"""JSON text as tokens that know where they stand, read as the real server's parser reads it.

That parser is laxer than JSON in two places that matter to a publisher, and so is this one: a string may hold raw
control characters, and a primitive is whatever starts with a digit, ``-``, ``t``, ``f`` or ``n`` (``nope`` is a
null). What starts otherwise (``NaN``, ``.5``, ``+1``, a BOM) and what is cut short does not parse at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"((?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_PRIMITIVE = re.compile(r"[-0-9tfn][!-+\--9;-Z\\^-|~]*")  # up to a comma, colon, bracket, brace, space or non-ASCII


class Unparsable(Exception):  # noqa: N818 - says what the text is
    """The text is not JSON. The real server sends no message then; it closes with 1000."""


class Kind(StrEnum):
    """The four kinds of token, named as the server's error texts name them."""

    OBJECT = "OBJECT"
    ARRAY = "ARRAY"
    STRING = "STRING"
    PRIMITIVE = "PRIMITIVE"


@dataclass(slots=True)
class Token:
    """A value and its place: ``text[start:end]``, without the quotes of a string, with the braces of an object."""

    kind: Kind
    start: int
    end: int = 0
    items: list[Token] = field(default_factory=list)
    """The elements of an array."""
    members: list[tuple[Token, Token]] = field(default_factory=list)
    """Key and value of an object's members, in the order written."""


def tokenize(text: str) -> Token:
    """The one value that ``text`` holds. Raises Unparsable. Nesting may be as deep as it likes."""
    position = _skip_space(text, 0)
    root, position = _open(text, position)
    stack = [root] if _is_container(root) else []
    while stack:
        position = _step(text, position, stack)
    if _skip_space(text, position) != len(text):
        raise Unparsable
    return root


def _step(text: str, position: int, stack: list[Token]) -> int:
    """Reads one element of the innermost open container, or closes it."""
    container = stack[-1]
    position = _skip_space(text, position)
    is_object = container.kind is Kind.OBJECT
    filled = bool(container.members if is_object else container.items)
    if text[position : position + 1] == ("}" if is_object else "]"):
        container.end = position + 1
        stack.pop()
        return container.end
    if filled:
        position = _skip_space(text, _expect(text, position, ","))
    key = None
    if is_object:
        match = _STRING.match(text, position)
        if match is None:
            raise Unparsable
        key = Token(Kind.STRING, match.start(1), match.end(1))
        position = _skip_space(text, _expect(text, _skip_space(text, match.end()), ":"))
    value, position = _open(text, position)
    if key is None:
        container.items.append(value)
    else:
        container.members.append((key, value))
    if _is_container(value):
        stack.append(value)
    return position


def _open(text: str, position: int) -> tuple[Token, int]:
    """The token that starts here, whole unless it is a container, and the position behind what was read."""
    first = text[position : position + 1]
    if first == "{":
        return Token(Kind.OBJECT, position), position + 1
    if first == "[":
        return Token(Kind.ARRAY, position), position + 1
    if match := _STRING.match(text, position):
        return Token(Kind.STRING, match.start(1), match.end(1)), match.end()
    if match := _PRIMITIVE.match(text, position):
        return Token(Kind.PRIMITIVE, match.start(), match.end()), match.end()
    raise Unparsable


def _is_container(token: Token) -> bool:
    return token.kind is Kind.OBJECT or token.kind is Kind.ARRAY


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, mark: str) -> int:
    if text[position : position + 1] != mark:
        raise Unparsable
    return position + 1
