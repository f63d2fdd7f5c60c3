"""Every file of the corpus: what is published of it, and what its report says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus_table import row_of, rows_there
from hazard import Hazard
from judged import HAZARDS, judge, lacking, open_desk

from contrib_watch.pipeline.desk import Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("state")) as opened:
        yield opened
        opened.reader.close()


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.name)
def test_nothing_is_published_that_nobody_wrote(hazard: Hazard, desk: Desk, tmp_path: Path) -> None:
    if missing := lacking(hazard):
        pytest.skip(missing)
    judged = judge(hazard, desk, tmp_path)
    assert judged.published == dict(hazard.published)
    assert (
        judged.refused or len(judged.published) + judged.rows_copied + _rejected(judged.problems) == judged.rows_read
    )
    assert all(problem.cause and problem.mend for problem in judged.problems)
    assert row_of(hazard, judged) == rows_there()[hazard.name]


def _rejected(problems: tuple[object, ...]) -> int:
    return len({problem.row for problem in problems})  # type: ignore[attr-defined]


def test_the_table_has_every_file_once_and_no_other() -> None:
    assert list(rows_there()) == [hazard.name for hazard in HAZARDS]
    assert max(Counter(hazard.name for hazard in HAZARDS).values()) == 1
