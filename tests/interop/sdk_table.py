"""The table of tests/interop/README.md, made of what the tests try.

python tests/interop/sdk_table.py > tests/interop/README.md
"""

from __future__ import annotations

from sdk_provider import dictionary_texts
from test_sdk_values import AGREED, DIFFERENT, NOTHING, REFUSED

from contrib_watch.config import parse_dictionary

START = """\
# What LSEG's SDK for Java makes of values, beside the simulated ADS

Made by `python tests/interop/sdk_table.py` of the parameters of `test_sdk_values.py`, which hold them against both
servers (`pytest -m interop`; needs a JDK and Maven); a test fails where this page and they differ. Tokens stand as in
the post; "blank" is a field without a value. How logins, packs, Errors, Pings and reading differ is in the names of
the tests of `test_sdk_protocol.py`. `NET_INT` and `NAME_U` are of types that the built-in dictionary has no field of.

| field | type | token | the SDK for Java | the simulated ADS |
|---|---|---|---|---|
"""


def page() -> str:
    """The whole of README.md."""
    alike = [(field, token, stored, stored) for field, token, stored in AGREED]
    refused = [(field, token, NOTHING, "an Error") for field, token in REFUSED]
    rows = sorted((*alike, *refused, *DIFFERENT), key=lambda row: (_kind(row[0]), row[0]))
    return START + "".join(
        f"| {field} | {_kind(field)} | {_code(token)} | {_cell(sdk)} | {_cell(ads)} |\n"
        for field, token, sdk, ads in rows
    )


_DICTIONARY = parse_dictionary(*(text.encode() for text in dictionary_texts()))


def _kind(field: str) -> str:
    definition = _DICTIONARY.get(field)
    return definition.kind.value if definition is not None else "no such field"


def _code(text: str) -> str:
    """As Markdown shows it as it is; control characters as they are written in JSON."""
    shown = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
    return f"`{shown}`".replace("|", "\\|")


def _cell(stored: str | None) -> str:
    if stored is None:
        return "blank"
    return stored if stored.startswith(("no answer", "an Error", "the connection")) else _code(stored)


if __name__ == "__main__":
    print(page(), end="")
