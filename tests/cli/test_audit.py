"""``audit``: questions to the record, the proof of a row, and tampering that is found."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cli_site import Site, ads, sheet
from click.testing import CliRunner
from openpyxl import Workbook

from contrib_watch.adapters.folder import content
from contrib_watch.cli import main
from contrib_watch.cli.options import opened
from contrib_watch.cli.verifying import verified
from contrib_watch.core.chain import canonical
from contrib_watch.store.export import export


@pytest.fixture
def audited(site: Site) -> Site:
    """Two drops of one file: A=T changed, B=T unchanged then changed, BAD=T refused, and a cell that is no number."""
    with ads({"kind": "nak", "ric": "BAD*", "code": "AccessDenied", "text": "Not yours"}) as server:
        site.configure(server.address)
        site.drop("prices.csv", sheet("A=T,22.10,x", "B=T,5,USD", header="RIC,BID,CURRENCY").replace(",x", ",EUR"))
        assert site.once()[0] == 0
        site.drop("prices.csv", sheet("A=T,22.3,EUR", "B=T,5,USD", "BAD=T,1,", "C=T,?,", header="RIC,BID,CURRENCY"))
        assert site.once()[0] == 3
    return site


def asked(site: Site, *words: str) -> list[dict[str, Any]]:
    done = site.invoke("audit " + words[0], *words[1:], "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_every_value_of_a_ric(audited: Site) -> None:
    first, second = asked(audited, "ric", "A=T", "--field", "BID")
    assert [first["value"], second["value"]] == ["22.1", "22.3"]
    assert [first["status"], first["action"], second["action"]] == ["acked", "Refresh", "Update"]
    assert first["file"] == str(audited.inbox / "prices.csv")
    assert first["cell"] == "row 2, BID"
    assert [first["drop"], second["drop"]] == [1, 2]
    assert first["post_id"] != second["post_id"]
    assert first["acked_at_utc"] <= second["acked_at_utc"]
    assert asked(audited, "ric", "A=T", "--field", "BID", "--from", second["acked_at_utc"]) == [second]
    assert asked(audited, "ric", "A=T", "--to", "2020-01-01") == []
    (text,) = asked(audited, "ric", "A=T", "--field", "CURRENCY")
    assert text["value"] == "EUR"
    (nak,) = asked(audited, "ric", "BAD=T")
    assert (nak["status"], nak["nak_code"], nak["acked_at_utc"]) == ("nakked", "AccessDenied", "")
    table = audited.invoke("audit ric", "BAD=T").stdout
    assert "Not yours" in table
    assert nak["at_utc"][:16] in table


def test_the_drops(audited: Site) -> None:
    first, second = asked(audited, "drops")
    assert (first["drop"], first["feed"], first["status"]) == (1, "prices", "done")
    assert second["sha256"] == sha256(audited.inbox.joinpath("prices.csv").read_bytes()).hexdigest()
    assert second["seen_at_utc"].endswith("Z")
    assert asked(audited, "drops", "--status", "held") == []
    none = audited.invoke("audit drops", "--status", "held")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "nothing is recorded that fits\n")
    wrong = audited.invoke("audit drops", "--status", "helt")
    assert (wrong.exit_code, "there is no status 'helt'" in wrong.stderr) == (2, True)


def test_one_drop(audited: Site) -> None:
    (found,) = asked(audited, "drop", "2")
    assert [event["kind"] for event in found["events"]] == ["drop", "run", "report"]
    assert {row["ric"]: row["status"] for row in found["rows"]} == {
        "A=T": "acked", "BAD=T": "nakked", "C=T": "rejected",
    }  # fmt: skip
    table = audited.invoke("audit drop", "2").stdout
    assert "Not yours" in table


def test_a_retry_does_not_hide_what_was_before(audited: Site) -> None:
    """Neither the rows of the first run, nor their proofs; and a rejected row is told without a value."""
    with ads() as server:
        audited.configure(server.address)
        assert audited.invoke("retry", "2").exit_code == 0
        audited.once()
    (found,) = asked(audited, "drop", "2")
    assert {row["run"] for row in found["rows"]} == {1, 2}
    (first,) = asked(audited, "drop", "2", "--run", "1")
    assert {row["ric"]: row["status"] for row in first["rows"]}["A=T"] == "acked"
    assert json.loads(audited.invoke("audit prove", "2", "2", "--run", "1").stdout)["rows"] == 3
    date = asked(audited, "drops")[0]["seen_at_utc"][:10]
    day = [one for one in asked(audited, "day", date) if one["drop"] == 2 and one["what"] == "contributed"]
    assert (day[0]["run"], day[0]["count"]) == (1, 1)  # the retry found it unchanged
    told = asked(audited, "ric", "C=T", "--field", "BID")
    assert [(one["run"], one["status"], one["value"]) for one in told] == [(1, "rejected", ""), (2, "rejected", "")]
    assert told[0]["cell"] == "row 5"


def test_a_day(audited: Site) -> None:
    date = asked(audited, "drops")[0]["seen_at_utc"][:10]
    told = [one for one in asked(audited, "day", date) if one["drop"] == 2]
    assert {(one["what"], one["status"], one["count"]) for one in told} == {
        ("contributed", "acked", 1), ("unchanged", "unchanged", 1),
        ("excluded", "nakked", 1), ("excluded", "rejected", 1),
    }  # fmt: skip
    assert any("is not a number" in one["why"] for one in told)
    assert asked(audited, "day", "2020-02-29") == []
    assert asked(audited, "day", date.replace("-", "")) == asked(audited, "day", date)
    assert asked(audited, "drops", "--to", date.replace("-", "")) == asked(audited, "drops", "--to", date) != []
    no_day = audited.invoke("audit day", f"{date}T16:30")
    assert no_day.exit_code == 2
    assert "is no date" in no_day.stderr


def test_what_a_day_does_not_know(audited: Site) -> None:
    """What was posted without an answer is not told as excluded, nor a drop that waits as a file without rows."""
    with ads({"kind": "lose_ack"}) as server:
        audited.configure(server.address, ack_timeout_s=1, retries=0)
        audited.drop("prices.csv", sheet("A=T,23"))
        assert audited.once()[0] == 4
    assert audited.invoke("withdraw", "B=T").exit_code == 0  # which waits for the next run
    last = asked(audited, "drops")[-1]
    told = {(one["drop"], one["what"]): one for one in asked(audited, "day", last["seen_at_utc"][:10])}
    (lost,), (waits,) = ([one for (drop, _), one in told.items() if drop == number] for number in (3, 4))
    assert (lost["what"], lost["status"], lost["count"]) == ("unconfirmed", "unconfirmed", 1)
    assert (waits["what"], waits["status"], waits["count"]) == ("under way", "waiting", 0)


@pytest.mark.parametrize("words", [("drops", "--to", "9999-12-31"), ("as-of", "9999-12-31")])
def test_a_time_beyond_all_that_can_be_told(audited: Site, words: tuple[str, ...]) -> None:
    done = audited.invoke("audit " + words[0], *words[1:])
    assert (done.exit_code, "'9999-12-31' is beyond the times that can be told" in done.stderr) == (2, True)


def test_the_market_as_of_a_time(audited: Site) -> None:
    first, second = asked(audited, "ric", "A=T", "--field", "BID")

    def bids(at: str) -> dict[str, str]:
        return {one["ric"]: one["value"] for one in asked(audited, "as-of", at) if one["field"] == "BID"}

    day = datetime.fromisoformat(second["acked_at_utc"]).astimezone().date()
    assert bids(str(day)) == {"A=T": "22.3", "B=T": "5"}  # at its end
    assert bids(str(day - timedelta(days=2))) == {}
    assert bids(second["acked_at_utc"]) == {"A=T": "22.3", "B=T": "5"}
    assert bids(first["acked_at_utc"])["A=T"] == "22.1"
    assert [one["field"] for one in asked(audited, "as-of", second["acked_at_utc"], "B=T")] == ["BID", "CURRENCY"]


def test_csv_has_what_json_has(audited: Site) -> None:
    done = audited.invoke("audit ric", "A=T", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["value"] for row in rows] == [one["value"] for one in asked(audited, "ric", "A=T")]


def test_a_workbooks_cell(site: Site) -> None:
    book = Workbook()
    page = book.active
    assert page is not None
    page.title = "Marks"
    for row in (["RIC", "note", "Bid"], ["A=T", "x", 7.5]):
        page.append(row)
    book.save(site.home / "made.xlsx")
    with ads() as server:
        site.configure(server.address, feed={"columns": {"Bid": "BID"}, "ignore_columns": ["note"]})
        (site.home / "made.xlsx").rename(site.inbox / "marks.xlsx")
        assert site.once()[0] == 0
    (found,) = asked(site, "ric", "A=T")
    assert (found["value"], found["cell"]) == ("7.5", "Marks!C2")


# --- proof


def verify(site: Site, *words: str) -> tuple[int, str]:
    done = site.invoke("audit verify", *words)
    return done.exit_code, done.stdout


def test_verify(audited: Site) -> None:
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert code == 0, text
    assert f"{audited.inbox}: 2 reports compared" in text
    assert "everything fits" in text


def test_a_kept_file_that_was_changed(audited: Site) -> None:
    found = asked(audited, "drops")[0]["sha256"]
    (audited.database.parent / "spool" / found[:2] / found).write_bytes(b"other")
    code, text = verify(audited)
    assert (code, "does not have the SHA-256" in text) == (2, True)


def test_a_kept_configuration_that_was_changed(audited: Site) -> None:
    run = asked(audited, "drop", "1")[0]["events"][1]["body"]
    kept = audited.database.parent / "kept" / run["config"][:2] / run["config"]
    kept.write_bytes(b"other")
    assert f"{kept}: a kept file does not have the SHA-256" in verify(audited)[1]


def tampered(site: Site, *statements: str) -> None:
    with closing(sqlite3.connect(site.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def forged(site: Site, last: int = 10**9) -> None:
    """The whole chain computed anew, up to a record, by somebody who knows how: another owner in every drop."""
    with closing(sqlite3.connect(site.database)) as connection, connection:
        previous, number = "0" * 64, 0
        connection.execute("UPDATE drops SET owner = 'nobody'")
        connection.execute("DELETE FROM record WHERE number > ?", [last])
        for number, text in connection.execute("SELECT number, text FROM record ORDER BY number").fetchall():
            told = json.loads(text) | {"previous": previous}
            if told["kind"] == "drop":
                told["body"]["owner"] = "nobody"
            previous = sha256(canonical(told).encode()).hexdigest()
            row = [canonical(told), previous, number]
            connection.execute("UPDATE record SET text = ?, sha256 = ? WHERE number = ?", row)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'record_head'", [f"{number} {previous}"])


def test_a_chain_that_was_computed_anew_is_found_by_the_reports(audited: Site) -> None:
    forged(audited)
    assert verify(audited)[0] == 0  # nothing within the database shows it
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert code == 2
    assert "the record was computed anew, or the report was changed" in text


def test_a_tail_that_was_cut_is_found_by_the_reports(audited: Site) -> None:
    number = asked(audited, "drops")[1]["record"]
    tampered(audited, f"DELETE FROM record WHERE number >= {number}")
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert code == 2
    assert f"DOES NOT FIT: record {number}: it is missing" in text


def test_a_changed_csv_is_found_by_its_page(audited: Site) -> None:
    report = Path(asked(audited, "drops")[0]["report"])
    report.write_text(report.read_text().replace("22.1", "22.2"))
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, "it is not the CSV that was written with its page" in text) == (2, True)


def test_a_state_under_another_id(audited: Site) -> None:
    """The chain computed anew for another state, which would have no report at all to compare."""
    other = "f" * 32
    with closing(sqlite3.connect(audited.database)) as connection:
        ((mine,),) = connection.execute("SELECT value FROM meta WHERE key = 'state_id'").fetchall()
    tampered(audited, f"UPDATE meta SET value = '{other}' WHERE key = 'state_id'")
    code, text = verify(audited)
    assert (code, f"record 1: it was made for state {mine}, and this is state {other}" in text) == (2, True), text
    tampered(audited, f"UPDATE record SET text = replace(text, '{mine}', '{other}') WHERE number = 1")
    forged(audited)
    assert verify(audited)[0] == 0
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, f"2 of the reports were written by state {mine}" in text) == (2, True), text


def test_reports_that_were_changed_or_removed(audited: Site) -> None:
    """A page and its CSV that were changed together still name the record's hash, and each other."""
    first, second = (Path(one["report"]) for one in asked(audited, "drops"))
    page, before = first.with_suffix(".html"), first.read_bytes()
    first.write_bytes(before.replace(b"22.1", b"22.2"))
    hashes = [sha256(content).hexdigest() for content in (before, first.read_bytes())]
    page.write_text(page.read_text().replace("22.1", "22.2").replace(*hashes))
    second.with_suffix(".html").unlink()
    second.unlink()
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, f"{page}: it is not what was written" in text) == (2, True), text
    assert "missing: 2 files of reports that were written, not in these folders" in text
    assert second.name in text
    assert first.name not in text.partition("missing:")[2]


def test_a_changed_report_that_is_said_to_be_unwritten(audited: Site) -> None:
    tampered(audited, "UPDATE reports SET whole = 0")
    report = Path(asked(audited, "drops")[0]["report"])
    report.write_text(report.read_text().replace("22.1", "22.2"))
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, f"{report}: it is not the CSV that was written with its page" in text) == (2, True), text


def test_a_report_that_is_written_after_its_folder_was_looked_at(audited: Site) -> None:
    """As ``run`` may do meanwhile: it is not missing."""

    def looked_at() -> Iterator[Path]:
        yield audited.inbox
        with ads() as server:
            audited.configure(server.address)
            audited.drop("prices.csv", sheet("A=T,30"))
            assert audited.once()[0] == 0

    with opened(audited.config, reading=True) as desk:
        assert verified(desk, looked_at())[1]
    assert verify(audited, "--reports", str(audited.inbox))[1].count("3 reports compared") == 1


def test_reports_that_cannot_be_read(audited: Site) -> None:
    """Each is a finding; what its name holds does not reach the terminal raw."""
    (audited.inbox / "x.ack.html").mkdir()
    (audited.inbox / "y\x1b[2J.ack.html").symlink_to("/nowhere/at/all")
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, text.count("it cannot be read")) == (2, 2), text
    assert "\x1b" not in text
    assert r"y\x1b[2J.ack.html: it cannot be read: No such file or directory" in text


def test_no_csv_holds_a_formula(audited: Site) -> None:
    with ads() as server:
        audited.configure(server.address)
        audited.drop("=1+1.csv", sheet("=cmd|x,-4", header="RIC,BID"))
        audited.once()
    (row,) = csv.DictReader(io.StringIO(audited.invoke("audit ric", "=cmd|x", "--csv").stdout))
    assert (row["ric"], row["value"]) == ("'=cmd|x", "-4")


def test_after_a_restore_the_lost_records_are_told(audited: Site) -> None:
    backup = audited.home / "backup.db"
    assert audited.invoke("state backup", str(backup)).exit_code == 0
    with ads() as server:
        audited.configure(server.address)
        audited.drop("prices.csv", sheet("A=T,30", header="RIC,BID"))
        assert audited.once()[0] == 0
    assert audited.invoke("state restore", str(backup)).exit_code == 0
    code, text = verify(audited)
    assert (code, "a backup was restored then" in text) == (0, True), text
    code, text = verify(audited, "--reports", str(audited.inbox))
    assert (code, "which was lost when a backup was restored" in text) == (2, True)


@pytest.fixture
def check(audited: Site) -> Path:
    """The reviewer's program, alone in a folder of its own."""
    program = audited.home / "reviewer" / "check.py"
    program.parent.mkdir()
    program.write_text(CliRunner().invoke(main, ["audit", "checker"]).stdout)
    lines = program.read_text().splitlines()
    assert len(lines) < 150
    assert not any("contrib_watch" in line for line in lines if line.startswith(("import", "from")))
    return program


def checked(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-I", "-S", str(program), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=program.parent)


def test_a_row_is_proven_to_a_stranger(audited: Site, check: Path) -> None:
    other, page = (Path(one["report"]).with_suffix(".html") for one in asked(audited, "drops"))
    proof = audited.home / "proof.json"
    for row in ("2", "4", "5"):
        proof.write_text(audited.invoke("audit prove", "2", row).stdout)
        done = checked(check, proof, page)
        assert done.returncode == 0, done.stderr
        assert f"PROVEN: {page} names this very record" in done.stdout
    assert "names another record" in checked(check, proof, other).stderr


def test_a_proof_that_was_changed_proves_nothing(audited: Site, check: Path) -> None:
    whole = json.loads(audited.invoke("audit prove", "2", "2").stdout)
    proof = audited.home / "proof.json"
    changes: dict[str, Any] = {
        "row": whole["row"].replace("22.3", "22.4"),
        "index": 1,
        "rows": 2,
        "path": whole["path"][:-1],
        "record": whole["record"].replace('"rows":3', '"rows":4'),
        "sha256": "0" * 64,
    }
    for name, value in changes.items():
        proof.write_text(json.dumps(whole | {name: value}))
        done = checked(check, proof)
        assert (done.returncode, "NOT PROVEN" in done.stderr) == (1, True), name


@pytest.mark.parametrize("row", ["3", "Prices!2"])
def test_an_unchanged_row_and_one_of_a_sheet_that_was_not_read_have_no_proof(audited: Site, row: str) -> None:
    done = audited.invoke("audit prove", "2", row)
    assert (done.exit_code, f"has no recorded row {row}" in done.stderr) == (2, True)


# --- replay and export


def test_a_report_made_again_is_the_same(audited: Site) -> None:
    audited.configure("127.0.0.1:1", feed={"columns": {"BID": "ASK"}})  # by today's rules it would read otherwise
    for drop in ("1", "2"):
        done = audited.invoke("audit replay", drop)
        assert done.exit_code == 0, done.output
        assert done.stdout.count("identical to what was recorded; the file there is identical") == 2


def test_the_reports_of_a_drop_that_was_held_and_decided_are_the_same(audited: Site) -> None:
    audited.configure("127.0.0.1:1", feed={"guards": {"max_move": {"BID": "20%"}}})
    audited.drop("prices.csv", sheet("A=T,2230,EUR", header="RIC,BID,CURRENCY"))
    assert audited.once()[0] == 3
    assert audited.invoke("reject", "3", "--as", "ann", "--reason", "times 100").exit_code == 0
    for run in ("1", "2"):
        done = audited.invoke("audit replay", "3", "--run", run)
        assert done.stdout.count("identical to what was recorded") == 2, done.output
    (found,) = asked(audited, "drop", "3")
    assert [event["kind"] for event in found["events"]] == ["drop", "run", "report", "decision", "run", "report"]
    assert "name ann" in found["events"][3]["text"]
    (breach,) = found["events"][1]["body"]["findings"]["breaches"]
    assert "BID" in str(breach)
    assert verify(audited, "--reports", str(audited.inbox))[0] == 0


def test_a_past_drop_has_the_holidays_of_its_time(site: Site) -> None:
    holidays = site.config.with_name("holidays.txt")
    holidays.write_text("2026-12-25  # Christmas\n2026-01-01\n")
    with ads() as server:
        site.configure(server.address, feed={"calendar": {"holidays": "holidays.txt"}})
        site.drop("prices.csv", sheet("A=T,22.10,EUR", header="RIC,BID,CURRENCY"))
        assert site.once()[0] == 0
    holidays.unlink()
    site.configure("127.0.0.1:1")
    done = site.invoke("audit replay", "1")
    assert (done.exit_code, done.stdout.count("identical")) == (0, 4), done.output
    assert verify(site)[0] == 0
    (found,) = asked(site, "drop", "1")
    (run,) = [event["body"] for event in found["events"] if event["kind"] == "run"]
    (kept,) = site.config.parent.glob(f"**/kept/*/{run['holidays']['prices']}*")
    assert content(kept) == b"2026-01-01\n2026-12-25\n"


def test_a_report_that_was_changed_is_not_the_same(audited: Site) -> None:
    report = Path(asked(audited, "drops")[0]["report"])
    report.write_text(report.read_text().replace("22.1", "22.2"))
    done = audited.invoke("audit replay", "1")
    assert (done.exit_code, "the file there is NOT the same" in done.stdout) == (2, True)


def test_the_export_gives_duckdb_the_same_answers(audited: Site) -> None:
    folder = audited.home / "export"
    assert audited.invoke("audit export", str(folder)).exit_code == 0
    outcomes = f"read_parquet('{folder}/outcomes.parquet')"
    with duckdb.connect() as database:
        rows = database.execute(
            f"""SELECT "full" ->> '$.BID', status, path, post_id, acked_at_utc FROM {outcomes}
                WHERE ric = 'A=T' ORDER BY acked_at_utc"""
        ).fetchall()
        records = database.execute(f"SELECT count(*) FROM read_parquet('{folder}/record.parquet')").fetchall()
    asked_for = asked(audited, "ric", "A=T", "--field", "BID")
    assert rows == [
        tuple(one[k] for k in ("value", "status", "file", "post_id", "acked_at_utc")) for one in asked_for
    ]
    assert records[0][0] == int(verify(audited)[1].split()[0].replace(",", ""))
    again = audited.invoke("audit export", str(folder))
    assert (again.exit_code, "there is such a file already" in again.stderr) == (2, True)
    shutil.rmtree(folder)
    assert audited.invoke("audit export", str(folder), "--to", "2020-01-01").exit_code == 0


def test_an_export_is_of_one_moment(audited: Site) -> None:
    """Also where a drop is processed while it is written."""
    folder, meanwhile = audited.home / "export", [audited.once]

    def written(_rows: int) -> None:
        while meanwhile:
            meanwhile.pop()()

    with ads() as server:
        audited.configure(server.address)
        audited.drop("prices.csv", sheet("A=T,30"))
        with opened(audited.config, reading=True) as desk:
            export(desk.state, folder, progress=written)
    assert len(asked(audited, "drops")) == 3
    with duckdb.connect() as database:
        query = f"SELECT max(id) FROM read_parquet('{folder}/drops.parquet') "
        query += f"UNION ALL SELECT max(drop_id) FROM read_parquet('{folder}/record.parquet')"
        assert database.execute(query).fetchall() == [(2,), (2,)]
