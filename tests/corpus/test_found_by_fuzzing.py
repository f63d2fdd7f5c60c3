"""What fuzzing found, each as the smallest file that shows it. Those that a drop meets are in the corpus as well."""

from __future__ import annotations

import pytest
from hazard import FEED
from workbooks import HEADER_ROW, by_hand, cells

from contrib_watch.adapters.sheets import read_cells
from contrib_watch.adapters.sheets.outline import outline
from contrib_watch.errors import UnreadableFile

FAR = {
    "a far value": by_hand(HEADER_ROW + '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'),
    "a far empty text": by_hand(HEADER_ROW + '<row r="1048576"><c r="XFD1048576" t="str"><v></v></c></row>'),
    "a cell of another row": cells('<c r="XFD1048576"><v>1</v></c>'),
    "a cell outside rows": by_hand(HEADER_ROW + '<rowr="9"><c r="XFD1048576"><v>1</v></c></row>'),
    "letters that are no column": cells('<c r="numFmtsB2" t="inlineStr"><is><t>1</t></is></c>'),
    "many letters": cells(f'<c r="{"h" * 60}B2" t="str"><v>1</v></c>'),
    "a column beyond the last": cells('<c r="ZZZ2"><v>1</v></c>', '<c r="ZZZ9999999"><v>1</v></c>'),
}
"""calamine allocates a grid up to such cells, hundreds of GB, and ends the process where it cannot have them."""


@pytest.mark.parametrize("content", FAR.values(), ids=FAR)
def test_a_cell_far_away_is_refused_before_a_grid_is_built(content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        outline(content, "prices.xlsx")
    with pytest.raises(UnreadableFile):
        read_cells(content, "prices.xlsx", FEED)


def test_a_carriage_return_between_stray_quotes_is_no_row_s_own() -> None:
    """Some readers end the row there, and one of them refuses to go on."""
    with pytest.raises(UnreadableFile, match="quote"):
        read_cells(b'RIC,BID\r\nA=X,a"\r=b "1\r\nB=X,2\r\n', "prices.csv", FEED)


def test_a_cell_has_one_value() -> None:
    with pytest.raises(UnreadableFile, match="two values"):
        read_cells(cells('<c r="B2" t="inlineStr"><v>1</v><is><t>2</t></is></c>'), "prices.xlsx", FEED)
