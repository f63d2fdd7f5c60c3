"""Checks that one row of a spreadsheet is in contrib_watch's record. It needs Python 3.10 or newer and nothing else.

    python check_proof.py PROOF.json [REPORT.ack.html ...]

PROOF.json is what `contrib-watch audit prove DROP ROW` printed. It holds the row, the record of the drop, and the
hashes between the two. What it cannot hold is the proof that the record was not made up later: for that, compare the
record's hash with the one in the Ack report that was written beside the file. Name the report's page, and it is done
here.

How it is computed: a row's hash is SHA-256 of a zero byte and the row's text; two hashes that stand side by side make
one, SHA-256 of a byte of value 1, the left and the right one; one that is left over goes up as it is; the last one is
the root (RFC 6962, 2.1), which stands in the record. The record's hash is SHA-256 of its text.
"""

from __future__ import annotations

import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any


def root_of(row: str, index: int, rows: int, path: list[str]) -> str:
    """The root to which the path leads from row number ``index`` of ``rows``."""
    found = sha256(b"\x00" + row.encode()).digest()
    steps = [bytes.fromhex(step) for step in path]
    if not 0 <= index < rows or any(len(step) != 32 for step in steps):
        raise ValueError("the path is none")
    while rows > 1:
        if index % 2:
            found = sha256(b"\x01" + steps.pop(0) + found).digest()
        elif index + 1 < rows:
            found = sha256(b"\x01" + found + steps.pop(0)).digest()
        index, rows = index // 2, (rows + 1) // 2
    if steps:
        raise ValueError("the path is too long")
    return found.hex()


def check(proof: dict[str, Any]) -> str:
    """What is wrong with a proof; empty: nothing."""
    if sha256(proof["record"].encode()).hexdigest() != proof["sha256"]:
        return "the record does not have the hash that the proof gives it"
    leaves = json.loads(proof["record"])["body"]["leaves"]
    if leaves["rows"] != proof["rows"] or leaves["columns"] != proof["columns"]:
        return "the record is about other rows"
    try:
        root = root_of(proof["row"], proof["index"], proof["rows"], proof["path"])
    except (ValueError, IndexError):
        return "the path from the row to the record is damaged"
    return "" if root == leaves["root"] else "the row is not the one that was recorded"


def named_record(page: str) -> tuple[int, str] | None:
    """Number and hash of the record that a report's page names last, or None."""
    found = re.findall(r"\bRecord (\d+) ([0-9a-f]{64})", page)
    return (int(found[-1][0]), found[-1][1]) if found else None


def main(arguments: list[str]) -> None:
    out = sys.stdout.write
    if not arguments:
        sys.exit(__doc__)
    proof = json.loads(Path(arguments[0]).read_text("utf-8"))
    wrong = check(proof)
    if wrong:
        sys.exit("NOT PROVEN: " + wrong)
    record = json.loads(proof["record"])
    number, body = record["number"], record["body"]
    for name, value in zip(proof["columns"], json.loads(proof["row"]), strict=True):
        out(f"{name:13} {'' if value is None else value}\n")
    out(f"This row is in record {number} of {record['at_utc']}:\n")
    out(f"  drop {body['drop']} of feed {body['feed']}, run {body['run']}, file {body['path']}\n")
    out(f"  the file's SHA-256 is {body['sha256']}\n  the record's is {proof['sha256']}\n")
    if not arguments[1:]:
        out("Compare the record's hash with the one at the foot of the Ack report's page.\n")
    for name in arguments[1:]:
        if named_record(Path(name).read_text("utf-8")) != (number, proof["sha256"]):
            sys.exit(f"NOT PROVEN: {name} names another record")
        out(f"PROVEN: {name} names this very record\n")


if __name__ == "__main__":
    main(sys.argv[1:])
