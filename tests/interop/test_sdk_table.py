"""README.md says what the tests try."""

from __future__ import annotations

from pathlib import Path

from sdk_table import page


def test_the_page_is_made_of_the_tests() -> None:
    assert Path(__file__).with_name("README.md").read_text(encoding="utf-8") == page()
