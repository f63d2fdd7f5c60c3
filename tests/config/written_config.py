"""A config.toml as a test writes it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import contrib_watch
from contrib_watch.config import InvalidConfiguration, Settings, load

SHIPPED = Path(__file__).parents[2] / "config.toml"
DATA = Path(contrib_watch.__file__).parent / "data"

MINIMAL = """\
[ads]
hosts = ["simulated"]
user = "analyst"

[[feeds]]
name = "fx"
folder = "inbox/fx"
service = "NIPROV"
"""


def written(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InvalidConfiguration) as caught:
        written(folder, text)
    return caught.value.problems


def with_keys(ads: str = "", feed: str = "", sections: str = "") -> str:
    """MINIMAL with further keys; a key that MINIMAL has is replaced."""
    tables = tomllib.loads(MINIMAL)
    text = "[ads]\n"
    for table, extra in (("ads", ads), ("feeds", feed)):
        known = tables[table] if table == "ads" else tables[table][0]
        kept = {k: v for k, v in known.items() if not re.search(rf"(?m)^{k} =", extra)}
        text += "".join(f"{k} = {v!r}\n" for k, v in kept.items()) + extra + "\n"
        text += "[[feeds]]\n" if table == "ads" else ""
    return text + sections


CLOUD = """
[cloud]
grant = "client_credentials"
client_id = "service-account"
"""
