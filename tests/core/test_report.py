"""The report: every row once, totals that add up, causes, and a verdict that misleads nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contrib_watch.core.findings import Findings
from contrib_watch.core.guards import Breach
from contrib_watch.core.model import Drop, DropStatus, Outcome, Problem, Quotes, Status
from contrib_watch.core.naks import EXPLANATIONS, explain
from contrib_watch.core.report import Report, build_report, spreadsheet_raw, spreadsheet_safe
from contrib_watch.core.report_rows import COLUMNS, PROBLEM_STATUSES
from contrib_watch.core.tokens import TOKENS
from contrib_watch.core.verdict import verdict_of
from contrib_watch.core.verified import Verified
from contrib_watch.errors import ContribWatchError


def a_drop(status: DropStatus = DropStatus.DONE, reason: str = "") -> Drop:
    return Drop(
        id=42,
        feed="bonds",
        path="/inbox/prices.csv",
        sha256="ab" * 32,
        size_bytes=100,
        mtime_ns=1_795_364_996_000_000_000,
        seen_at_utc=datetime(2026, 11, 22, 16, 30, tzinfo=UTC),
        status=status,
        reason=reason,
    )


def some_quotes(
    first_rows: Mapping[str, int],
    twins: Mapping[str, tuple[int, ...]] | None = None,
    problems: Sequence[Problem] = (),
    sheet: str = "",
) -> Quotes:
    rics = pd.Index(list(first_rows), dtype=TOKENS)
    twins = twins or {}
    return Quotes(
        values=pd.DataFrame({"BID": pd.array(["1"] * len(rics), dtype=TOKENS)}, index=rics),
        rows=pd.Series(list(first_rows.values()), index=rics, dtype="int64"),
        twins=twins,
        problems=tuple(problems),
        rows_read=len(rics) + sum(map(len, twins.values())) + len({problem.row for problem in problems}),
        sheet=sheet,
    )


def the_outcomes(*outcomes: Outcome) -> pa.Table:
    numbers = dict.fromkeys(("row", "post_id", "attempts"), pa.int64())
    shape = pa.schema([(name, numbers.get(name, pa.string())) for name in Outcome._fields])
    return pa.Table.from_pylist([outcome._asdict() for outcome in outcomes], shape)


def the_rows(report: Report) -> pd.DataFrame:
    return report.rows.to_pandas(types_mapper=pd.ArrowDtype)


def a_report(
    quotes: Quotes | None, *outcomes: Outcome, drop: Drop | None = None, unreadable: str = "", **found: Any
) -> Report:
    return build_report(
        drop=drop or a_drop(),
        service="NIPROV",
        target="ads-london",
        simulated=False,
        version="1.0",
        state_id="s1",
        local_tz=UTC,
        quotes=quotes,
        outcomes=the_outcomes(*outcomes),
        findings=Findings(**found),
        unreadable=unreadable,
    )


def ten_rows() -> Quotes:
    return some_quotes({f"R{row}": row for row in range(2, 12)})


def rows_with(status: Status, *rows: int, **more: Any) -> list[Outcome]:
    return [Outcome(row, f"R{row}", status, **more) for row in rows]


def a_problem(row: int, cause: str = "is not a number", text: str = "x") -> Problem:
    return Problem(row, f"R{row}", f"row {row}, BID", text, cause, "write a number")


# --- rows and totals


def test_problems_come_first_then_the_file_s_order() -> None:
    report = a_report(
        ten_rows(), *rows_with(Status.NAKKED, 9), *rows_with(Status.ACKED, 8, 3), *rows_with(Status.HELD, 5)
    )
    assert report.rows["row"].to_pylist() == ["5", "9", "2", "3", "4", "6", "7", "8", "10", "11"]
    assert report.rows.column_names == list(COLUMNS)
    assert report.problem_rows["row"].to_pylist() == ["5", "9"]


def test_a_row_without_an_outcome_is_unchanged() -> None:
    report = a_report(ten_rows(), *rows_with(Status.ACKED, 2))
    row = the_rows(report).set_index("row").loc["3"]
    assert (row["ric"], row["status"], row["action"], row["attempts"]) == ("R3", "unchanged", "", 0)
    assert pd.isna(row["post_id"])
    assert report.totals == {**dict.fromkeys(Status, 0), Status.ACKED: 1, Status.UNCHANGED: 9}


def test_a_workbook_s_rows_are_named_with_their_sheet() -> None:
    report = a_report(some_quotes({"A": 7}, sheet="Prices"))
    assert report.rows["row"].to_pylist() == ["Prices!7"]


def test_an_equal_copy_shares_the_fate_of_its_first_row() -> None:
    """A copy of a refused row must never be counted as unchanged, that is, as being in the market."""
    quotes = some_quotes({"A": 2, "B": 3}, twins={"A": (4,), "B": (5, 6)})
    report = a_report(quotes, Outcome(2, "A", Status.NAKKED, post_id=7, nak_code="SymbolUnknown"))
    rows = the_rows(report).set_index("row")
    assert (rows.loc["4", "status"], rows.loc["4", "post_id"]) == ("nakked", 7)
    assert list(rows.loc[["3", "5", "6"], "status"]) == ["unchanged"] * 3


def test_a_refused_row_does_not_taint_the_good_row_of_the_same_ric() -> None:
    problem = Problem(9, "A", "row 9", "A,1", "has 2 cells instead of 3", "add the missing cell")
    report = a_report(some_quotes({"A": 2}, {"A": (3,)}, [problem]), Outcome(9, "A", Status.REJECTED))
    assert dict(zip(*the_rows(report)[["row", "status"]].to_numpy().T, strict=True)) == {
        "9": "rejected", "2": "unchanged", "3": "unchanged",
    }  # fmt: skip


def test_a_rejected_row_recorded_without_a_text_says_all_its_reasons() -> None:
    problems = [a_problem(3), a_problem(3, "is not a date")]
    report = a_report(some_quotes({"R2": 2}, problems=problems), Outcome(3, "R3", Status.REJECTED))
    assert report.rows["text"][0].as_py() == f"{problems[0]}; {problems[1]}"


def test_what_was_never_posted_has_no_post_id() -> None:
    acked = Outcome(2, "R2", Status.ACKED, post_id=2**32 - 1, text=None)  # type: ignore[arg-type]
    report = a_report(some_quotes({"R2": 2, "R3": 3}), acked, Outcome(3, "R3", Status.REJECTED))
    assert report.rows["post_id"].to_pylist() == [None, 4294967295]
    assert report.rows["text"].to_pylist() == ["", ""]


@pytest.mark.parametrize(
    ("outcomes", "what"),
    [
        (rows_with(Status.ACKED, 2, 2), "row 2 has two outcomes"),
        (rows_with(Status.ACKED, 99), "row 99 has an outcome, but the file has no such row"),
        ([Outcome(2, "R2", "sent")], "'sent', which does not exist"),  # type: ignore[arg-type]
    ],
)
def test_a_record_that_contradicts_the_file_is_a_fault(outcomes: list[Outcome], what: str) -> None:
    with pytest.raises(ContribWatchError, match=what) as caught:
        a_report(ten_rows(), *outcomes)
    assert caught.value.exit_code == 1


def test_a_rejected_row_without_a_record_is_a_fault() -> None:
    with pytest.raises(ContribWatchError, match="the file has 2 rows, but 1 are accounted for"):
        a_report(some_quotes({"R2": 2}, problems=[a_problem(3)]))


KINDS = [*Status, "twin"]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_totals_reconcile_for_any_table(kinds: list[Any], random: Any) -> None:
    """Each row of any file is in the report once, with its own status, and is counted once."""
    first_rows: dict[str, int] = {}
    twins: dict[str, tuple[int, ...]] = {}
    problems: list[Problem] = []
    outcomes: list[Outcome] = []
    expected: dict[str, str] = {}
    fates: dict[str, Status] = {}
    for row, kind in enumerate(kinds, start=2):
        if kind == "twin":
            if not first_rows:
                continue
            ric = random.choice(list(first_rows))
            twins[ric] = (*twins.get(ric, ()), row)
            expected[str(row)] = fates[ric]
            continue
        expected[str(row)] = kind
        if kind is Status.REJECTED and random.random() < 0.7:
            problems.append(a_problem(row))
        else:
            first_rows[f"R{row}"], fates[f"R{row}"] = row, kind
        if kind is not Status.UNCHANGED:
            outcomes.append(Outcome(row, f"R{row}", kind))
    random.shuffle(outcomes)
    report = a_report(some_quotes(first_rows, twins, problems), *outcomes)
    assert dict(zip(*the_rows(report)[["row", "status"]].to_numpy().T, strict=True)) == expected
    assert report.rows_read == len(expected) == sum(report.totals.values())
    if not expected:
        return
    in_market = report.totals[Status.ACKED] + report.totals[Status.UNCHANGED]
    assert (report.verdict.level == "good") == (in_market == report.rows_read)
    if report.totals[Status.ACKED] or report.totals[Status.UNCONFIRMED]:
        assert "NOTHING" not in report.verdict.text


# --- the verdict


@pytest.mark.parametrize(
    ("counts", "level", "text"),
    [
        ({Status.ACKED: 10}, "good", "All 10 rows acknowledged"),
        ({Status.UNCHANGED: 10}, "good", "Nothing to send: 10 rows unchanged"),
        ({Status.ACKED: 4, Status.UNCHANGED: 6}, "good", "All 4 changed rows acknowledged; 6 unchanged"),
        ({Status.ACKED: 1, Status.UNCHANGED: 9}, "good", "The only changed row acknowledged; 9 unchanged"),
        ({Status.ACKED: 2, Status.UNCHANGED: 8}, "good", "All 2 changed rows acknowledged; 8 unchanged"),
        ({Status.NAKKED: 4, Status.ACKED: 6}, "attention", "4 of 10 NOT published; 6 acknowledged"),
        ({Status.NAKKED: 5, Status.ACKED: 5}, "bad", "5 of 10 NOT published; 5 acknowledged"),
        ({Status.NAKKED: 9, Status.ACKED: 1}, "bad", "9 of 10 NOT published; 1 acknowledged"),
        ({Status.REJECTED: 1, Status.UNCHANGED: 9}, "attention", "1 of 10 NOT published; 9 unchanged"),
        ({Status.REJECTED: 10}, "bad", "NOTHING PUBLISHED: all 10 rows rejected"),
        ({Status.NAKKED: 10}, "bad", "NOTHING PUBLISHED: the ADS refused all 10 rows"),
        ({Status.REJECTED: 4, Status.NAKKED: 6}, "bad", "NOTHING PUBLISHED: 4 rows rejected, 6 refused by the ADS"),
        ({Status.UNCONFIRMED: 10}, "bad", "All 10 of unknown fate (no answer)"),
        (
            {Status.UNCONFIRMED: 2, Status.ACKED: 8},
            "attention",
            "2 of 10 of unknown fate (no answer); 8 acknowledged",
        ),
        (
            {Status.REJECTED: 3, Status.UNCONFIRMED: 2, Status.ACKED: 4, Status.UNCHANGED: 1},
            "bad",
            "3 of 10 NOT published; 2 of unknown fate (no answer); 4 acknowledged; 1 unchanged",
        ),
        ({Status.REJECTED: 8, Status.UNCONFIRMED: 2}, "bad", "8 of 10 NOT published; 2 of unknown fate (no answer)"),
        ({Status.SUPERSEDED: 10}, "attention", "All 10 superseded by a newer drop"),
        ({Status.SUPERSEDED: 1, Status.ACKED: 9}, "attention", "1 of 10 superseded by a newer drop; 9 acknowledged"),
    ],
)
def test_the_verdict(counts: dict[Status, int], level: str, text: str) -> None:
    statuses = [status for status, count in counts.items() for _ in range(count)]
    outcomes = [
        Outcome(row, f"R{row}", status) for row, status in enumerate(statuses, start=2) if status != Status.UNCHANGED
    ]
    verdict = a_report(ten_rows(), *outcomes).verdict
    assert (verdict.level, verdict.text) == (level, text)


def test_the_verdict_on_a_single_row() -> None:
    drop = a_report(ten_rows()).drop
    told = [verdict_of(drop, Counter([status]), 0).text for status in (Status.SUPERSEDED, Status.UNCONFIRMED)]
    assert told == ["The only row superseded by a newer drop", "The only row of unknown fate (no answer)"]


@pytest.mark.parametrize(
    ("status", "of_one", "of_two"),
    [
        (Status.ACKED, "The only row acknowledged", "All 2 rows acknowledged"),
        (Status.UNCHANGED, "Nothing to send: 1 row unchanged", "Nothing to send: 2 rows unchanged"),
        (
            Status.REJECTED,
            "NOTHING PUBLISHED: the only row was rejected",
            "NOTHING PUBLISHED: all 2 rows rejected",
        ),
        (
            Status.NAKKED,
            "NOTHING PUBLISHED: the ADS refused the only row",
            "NOTHING PUBLISHED: the ADS refused all 2 rows",
        ),
    ],
)
def test_the_verdict_on_one_row_and_on_two(status: Status, of_one: str, of_two: str) -> None:
    assert a_report(some_quotes({"R2": 2}), *rows_with(status, 2)).verdict.text == of_one
    assert a_report(some_quotes({"R2": 2, "R3": 3}), *rows_with(status, 2, 3)).verdict.text == of_two


def test_the_verdict_groups_thousands() -> None:
    quotes = some_quotes({f"R{row}": row for row in range(2, 100_002)})
    report = a_report(quotes, *rows_with(Status.NAKKED, 5, 6, 7))
    assert report.verdict.text == "3 of 100,000 NOT published; 99,997 unchanged"


def test_a_held_drop_has_published_nothing_though_some_rows_are_unchanged() -> None:
    drop = a_drop(DropStatus.HELD, "BID moved 9,900 % (limit 20 %)")
    report = a_report(ten_rows(), *rows_with(Status.HELD, 2, 3), drop=drop)
    assert report.verdict.level == "bad"
    assert report.verdict.text == "NOTHING PUBLISHED: held, BID moved 9,900 % (limit 20 %)"
    assert "contrib-watch approve 42" in report.causes[0].mend
    assert report.causes[0].count == 2


def test_a_drop_that_a_person_ended_has_published_nothing() -> None:
    drop = a_drop(DropStatus.REJECTED, "rejected by a person")
    report = a_report(ten_rows(), *rows_with(Status.REJECTED, 2, text="rejected by a person"), drop=drop)
    assert report.verdict.text == "NOTHING PUBLISHED: rejected by a person"


def test_missing_rics_are_in_the_verdict_and_no_rows() -> None:
    report = a_report(ten_rows(), missing=("OLD1", "OLD2"))
    assert report.verdict.text == "Nothing to send: 10 rows unchanged; 2 known RICs missing from the file"
    assert report.verdict.level == "attention"
    assert report.rows_read == 10
    assert [(cause.status, cause.count, cause.example) for cause in report.causes] == [(None, 2, "OLD1")]


def read_back(row: int) -> str:
    """What reading back finds of some rows."""
    return {2: "no: ASK 4.5 instead of 4", 3: "not available: no answer"}.get(row, "yes")


@pytest.mark.parametrize(
    ("acked", "nakked", "level", "text"),
    [
        ((4, 5), (), "good", "All 2 changed rows acknowledged and verified; 8 unchanged"),
        ((3, 4), (), "attention", "All 2 changed rows acknowledged; 8 unchanged; 1 not verified"),
        (
            (2, 3, 4),
            (),
            "bad",
            "1 acknowledged row NOT as posted when read back; all 3 changed rows acknowledged; 7 unchanged; "
            "1 not verified",
        ),
        ((4,), (5,), "attention", "1 of 10 NOT published; 1 acknowledged and verified; 8 unchanged"),
        ((3,), (5, 6, 7, 8, 9), "bad", "5 of 10 NOT published; 1 acknowledged; 4 unchanged; 1 not verified"),
    ],
)
def test_the_verdict_on_what_was_read_back(
    acked: Sequence[int], nakked: Sequence[int], level: str, text: str
) -> None:
    outcomes = [*rows_with(Status.ACKED, *acked), *rows_with(Status.NAKKED, *nakked)]
    found = Verified("yes", {f"R{row}": read_back(row) for row in range(2, 12)})
    verdict = a_report(ten_rows(), *outcomes, verified=found).verdict
    assert (verdict.level, verdict.text) == (level, text)


def test_the_verdict_on_a_drop_that_failed_half_way() -> None:
    failed = a_drop(DropStatus.FAILED, "the copy is damaged")
    report = a_report(None, *rows_with(Status.ACKED, 2, 3), drop=failed)
    assert report.verdict.text == "FAILED half-way: 2 acknowledged; all others NOT published"
    outcomes = [*rows_with(Status.ACKED, 2, 3), *rows_with(Status.UNCONFIRMED, 4)]
    report = a_report(None, *outcomes, drop=failed, verified=Verified("yes", {"R2": read_back(2)}))
    assert report.verdict.text == (
        "1 acknowledged row NOT as posted when read back; FAILED half-way: 2 acknowledged; "
        "1 of unknown fate (no answer); all others NOT published"
    )


# --- a file without rows to speak of


def test_an_unreadable_file_has_one_rejected_line_that_says_why() -> None:
    report = a_report(None, drop=a_drop(DropStatus.REJECTED), unreadable="the column BID is there twice")
    assert the_rows(report)[["row", "ric", "status", "text", "attempts"]].to_numpy().tolist() == [
        ["", "", "rejected", "the column BID is there twice", 0]
    ]
    assert report.verdict.text == "NOTHING PUBLISHED: the file could not be read: the column BID is there twice"
    assert report.whole_file
    assert report.totals[Status.REJECTED] == report.rows_read == 1


def test_a_later_run_speaks_for_itself_alone() -> None:
    drop = replace(a_drop(DropStatus.REJECTED), run=2)
    by = "NOTHING PUBLISHED by run 2 of this file (earlier runs have their own reports)"
    report = a_report(None, drop=drop, unreadable="its copy is damaged")
    assert report.verdict.text == f"{by}: the file could not be read: its copy is damaged"
    assert report.causes[0].mend == "mend the file and save it again: nothing of this one was sent this time"
    again = a_report(ten_rows(), *rows_with(Status.NAKKED, *range(2, 12)), drop=replace(a_drop(), run=3))
    assert again.verdict.text == f"{by.replace('2', '3')}: the ADS refused all 10 rows"


def test_a_file_held_before_its_rows_counted_is_held_not_unreadable() -> None:
    report = a_report(None, drop=a_drop(DropStatus.HELD, "last saved 30 days ago"))
    assert report.rows["status"].to_pylist() == ["held"]
    assert report.verdict.text == "NOTHING PUBLISHED: held, last saved 30 days ago"


def test_a_drop_that_failed_before_any_of_its_rows_ended_is_told_as_a_whole() -> None:
    report = a_report(None, drop=a_drop(DropStatus.FAILED, "the copy is damaged"))
    assert report.verdict.text == "NOTHING PUBLISHED: not processed, the copy is damaged"
    assert report.causes[0].mend == "once that is cured: contrib-watch retry 42"
    assert report.whole_file


def test_a_file_that_is_rejected_as_a_whole_lists_no_outcomes() -> None:
    report = a_report(None, *rows_with(Status.ACKED, 2), drop=a_drop(DropStatus.REJECTED, "it is too large"))
    assert report.rows["text"].to_pylist() == ["it is too large"]
    assert report.whole_file


def test_a_file_name_that_is_not_utf_8_can_be_written() -> None:
    report = a_report(None, unreadable="caf\udce9.csv is empty")
    assert report.rows["text"][0].as_py().encode() == b"caf\\udce9.csv is empty"


# --- causes


def test_causes_are_grouped_and_the_largest_comes_first() -> None:
    problems = [a_problem(3, "is not a date", "22/11"), a_problem(4, text="1.234,5"), a_problem(5), a_problem(5)]
    outcomes = rows_with(Status.REJECTED, 3, 4, 5)
    causes = a_report(some_quotes({"R2": 2}, problems=problems), *outcomes).causes
    assert [(cause.count, cause.cause, cause.example, cause.mend) for cause in causes] == [
        (2, "is not a number", 'row 4, BID "1.234,5"', "write a number"),
        (1, "is not a date", 'row 3, BID "22/11"', "write a number"),
    ]


def test_a_very_long_cell_is_quoted_in_part() -> None:
    quotes = some_quotes({}, problems=[a_problem(3, text="9" * 30_000)])
    assert len(a_report(quotes, *rows_with(Status.REJECTED, 3)).causes[0].example) < 120


def test_problems_found_after_reading_count_like_those_of_the_cells() -> None:
    owned = Problem(4, "R4", "row 4", "", "is owned by feed fx", "leave it out")
    report = a_report(ten_rows(), *rows_with(Status.REJECTED, 4), problems=(owned,))
    assert [(cause.count, cause.cause, cause.example) for cause in report.causes] == [
        (1, "is owned by feed fx", "row 4")
    ]


def test_naks_are_grouped_by_code_and_answer_in_plain_words() -> None:
    outcomes = [
        Outcome(row, f"R{row}", Status.NAKKED, nak_code="AccessDenied", text=f"No permission for R{row}")
        for row in (4, 5, 6)
    ]
    outcomes += rows_with(Status.NAKKED, 7, nak_code="132") + rows_with(Status.NAKKED, 8, text="JSON Unexpected FID")
    causes = a_report(ten_rows(), *outcomes).causes
    assert [(cause.count, cause.example) for cause in causes] == [
        (3, "row 4, R4"),
        (1, "row 7, R7"),
        (1, "row 8, R8"),
    ]
    assert causes[0].cause == (
        'AccessDenied: this user may not contribute to this RIC or Service ("No permission for <RIC>")'
    )
    assert causes[0].mend.endswith("in DACS, then retry the drop (contrib-watch retry 42)")
    assert causes[1].cause.startswith("132: ")
    assert "Error" in causes[2].cause
    assert "JSON Unexpected FID" in causes[2].cause


@pytest.mark.parametrize(
    ("status", "fate", "mend"),
    [
        (DropStatus.HELD, Status.HELD, "look at the rows below, then: contrib-watch approve 42"),
        (DropStatus.REJECTED, Status.REJECTED, "mend the file and save it again"),
    ],
)
def test_a_guard_that_a_drop_does_not_pass_is_the_first_cause(status: DropStatus, fate: Status, mend: str) -> None:
    moved = Breach("max_move", "BID moved 9,900 % (limit 20 %)", 2, ('row 2, BID "100"', 'row 3, BID "99"'))
    outcomes = [*rows_with(fate, 2, 3, text=moved.what), *rows_with(Status.REJECTED, 4, 5, 6)]
    problems = tuple(a_problem(row) for row in (4, 5, 6))
    drop = a_drop(status, moved.what)
    first, other = a_report(ten_rows(), *outcomes, drop=drop, breaches=(moved,), problems=problems).causes
    assert (first.status, first.count, first.cause) == (fate, 2, f"{fate}, {moved.what}")
    assert first.example == 'row 2, BID "100"; row 3, BID "99"'
    assert first.mend.startswith(mend)
    assert (other.status, other.count) == (Status.REJECTED, 3)


def test_what_needs_no_action_comes_last_however_many_rows_it_has() -> None:
    outcomes = [*rows_with(Status.SUPERSEDED, 2, 3, 4, 5), *rows_with(Status.UNCONFIRMED, 6)]
    assert [cause.status for cause in a_report(ten_rows(), *outcomes).causes] == ["unconfirmed", "superseded"]


def test_every_problem_row_has_a_cause() -> None:
    for status in PROBLEM_STATUSES:
        (cause,) = a_report(ten_rows(), *rows_with(status, 3)).causes
        assert (cause.status, cause.count) == (status, 1)
        assert cause.cause
        assert cause.mend


def test_every_code_of_the_specification_is_explained() -> None:
    names = (
        "AccessDenied DeniedBySrc GatewayDown InvalidContent NoResources NoResponse NotOpen SourceDown SourceUnknown"
    )
    assert set(EXPLANATIONS) == {*names.split(), "SymbolUnknown", "TooLarge", "ItemClosed", "ItemNotOpen"}
    texts = [explain(code).meaning for code in (*EXPLANATIONS, "", "132")]
    assert len(set(texts)) == len(texts)


def test_warnings_of_the_reading_are_kept_and_none_is_said_twice() -> None:
    quotes = some_quotes({"A": 2})
    quotes = Quotes(quotes.values, quotes.rows, {}, (), 1, warnings=("one", "two"))
    assert a_report(quotes, warnings=("two", "three")).warnings == ("one", "two", "three")


# --- spreadsheets


@given(st.lists(st.text(alphabet=st.sampled_from("=+-@\t\r\n'aA1 é"), max_size=6)))
def test_safe_text_is_no_formula_and_can_be_undone(texts: list[str]) -> None:
    safe = spreadsheet_safe(pa.array(texts, pa.string()))
    assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for text in safe.to_pylist())
    assert spreadsheet_raw(safe).to_pylist() == texts


def test_harmless_text_stays_as_it_is() -> None:
    column = pa.array(["BID 22.1 -> 22.3", "EUR=CW", "", None])
    assert spreadsheet_safe(column).equals(column)
