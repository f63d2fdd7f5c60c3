"""A workbook's numbers as texts: a column at once gives what each number by itself gives."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from contrib_watch.adapters.sheets.grid import number_texts
from contrib_watch.adapters.sheets.markup import number_text

prices = st.builds(lambda digits, decimals: digits / 10**decimals, st.integers(-(10**16), 10**16), st.integers(0, 17))


@given(st.lists(st.floats(allow_nan=False) | prices, max_size=20))
@example([-0.0, 0.0, 1e-05, 0.1 + 0.2, 1e15, 999_999_999_999_999.0, 22.1 * 1.01, -0.5, 1e21, 5e-324])
def test_a_column_of_numbers_is_written_as_each_of_them(numbers: list[float]) -> None:
    assert number_texts(numbers).to_pylist() == [number_text(number) for number in numbers]
