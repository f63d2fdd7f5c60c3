"""What libraries log stands among the program's own lines, in their format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from contrib_watch.cli.logs import configure
from contrib_watch.config import Log


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    """A library's logger as it is where nobody has set up ``logging``, which pytest has done."""
    last = logging.lastResort
    yield logging.Logger("some.library")
    logging.lastResort = last
    structlog.reset_defaults()


def test_a_librarys_line_is_json_like_the_log(library: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(format="json"))
    library.warning("lost %s\nof them", 2)
    library.info("nothing that anybody asked for")
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said.pop("timestamp")
    assert said == {"event": "lost 2\nof them", "library": "some.library", "level": "warning"}


def test_a_librarys_text_breaks_no_line(library: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log())
    library.error("first\nsecond")
    (line,) = capsys.readouterr().err.splitlines()
    assert "[error]" in line
    assert "library=some.library" in line


def test_no_line_below_the_level_asked_for(library: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(level="error"))
    library.warning("not now")
    assert capsys.readouterr().err == ""


def test_no_line_ends_what_its_library_does(library: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Log(format="json"))
    library.log(35, "a level of its own")
    said = json.loads(capsys.readouterr().err)
    assert (said["event"], said["level"]) == ("a level of its own", "warning")
    library.warning("%d of them", "many")
    assert "Message: '%d of them'" in capsys.readouterr().err
