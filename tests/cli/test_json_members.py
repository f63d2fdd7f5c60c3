"""What ``--json`` prints has the members that the README names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_site import SERVICE, Site, ads, sheet

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
OPEN = {"totals", "fields", "changes", "connection", "presence", "state", "services_down", "paused", "resent"}
"""Members whose own are those of the matter at hand."""


def told(command: str) -> set[str]:
    table = README[README.index("What `--json` prints") :]
    (line,) = re.findall(rf"^\| `{command}` \| (.+) \|$", table, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", line))


def members(document: Any, depth: int = 2) -> Iterator[str]:
    """The names in an object, and in the objects of its lists."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield name
            if depth > 1 and isinstance(value, list) and name not in OPEN:
                for one in value:
                    yield from members(one, depth - 1)


@pytest.mark.parametrize("command", ["run --once", "preview", "check", "status", "status FILE", "reconcile"])
def test_the_readme_names_what_is_printed(site: Site, command: str) -> None:
    """One drop is done with a rejected row, one is held, one file cannot be taken, and an item has another value."""
    with ads() as server:
        site.configure(server.address, presence_sample=0)
        site.drop("prices.csv", sheet("A=T,1", "B=T,2", "C=T,x"))
        site.drop("prices.xls", "x")
        printed = site.invoke("run --once --json").stdout
        path = site.drop("old.csv", sheet("A=T,3", "D=T,4.5%", "E=T,5"), age_days=30)
        site.invoke("run --once")
        with server.inspect() as held:
            held.load(SERVICE, "A=T", '{"BID":99}')
        args = [str(path)] if command == "preview" else ["prices.csv"] if command == "status FILE" else []
        if command != "run --once":
            printed = site.invoke(command.removesuffix(" FILE"), *args, "--json").stdout
    assert set(members(json.loads(printed))) == told(command)
