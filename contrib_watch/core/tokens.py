"""Tokens (see ``model``) as columns of a table, out of a JSON object, and as people write them."""

from __future__ import annotations

import json

import msgspec
import pandas as pd
import pyarrow as pa

TOKENS = pd.ArrowDtype(pa.string())
"""The dtype of every column of tokens; a missing value is a blank cell: nothing is contributed for it."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def tokens_of(fields: str) -> dict[str, str]:
    """A JSON object of tokens, taken apart: acronym to token, the very text of each."""
    return {name: bytes(token).decode() for name, token in _OBJECT.decode(fields).items()}


def unquoted(token: str) -> str:
    """A token without its JSON: what a text says, and of anything else the token itself."""
    return str(json.loads(token)) if token.startswith('"') else token
