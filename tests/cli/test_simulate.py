"""``simulate``: the simulated ADS as a program of its own."""

from __future__ import annotations

import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import pytest
from cli_site import DEADLINE_S, PROGRAM, PROMPTLY_S, Site, ads, sheet
from click.testing import CliRunner

from contrib_watch.cli import main

ANNOUNCEMENT = re.compile(r"simulated ADS at ws://(127\.0\.0\.1:\d+)/WebSocket")


@contextmanager
def simulated(*args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it says it listens at."""
    line = [str(PROGRAM), "simulate", *args]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            ready, _, _ = select.select([process.stderr], [], [], DEADLINE_S)
            assert ready, "it says nothing"
            said = process.stderr.readline()
            found = ANNOUNCEMENT.search(said)
            assert found, said
            yield process, found[1]
        finally:
            process.kill()


def test_posts_to_the_address_that_it_prints(site: Site, tmp_path: Path) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text('[[faults]]\nkind = "nak"\nric = "BAD*"\ncode = "AccessDenied"\ntext = "Not yours"\n')
    with simulated("--port", "0", "--faults", str(faults)) as (_, address):
        site.configure(address)
        site.drop("prices.csv", sheet("GOOD=T,1", "BAD=T,2"))
        code, (drop,) = site.once()
    assert code == 3
    assert (drop["totals"]["acked"], drop["totals"]["nakked"]) == (1, 1)
    assert [(row["ric"], row["nak_code"]) for row in site.rows("prices.csv")] == [
        ("BAD=T", "AccessDenied"),
        ("GOOD=T", ""),
    ]


def test_it_knows_the_sites_own_fields(site: Site, tmp_path: Path) -> None:
    built_in = resources.files("contrib_watch") / "data"
    fields = (built_in / "RDMFieldDictionary").read_text("latin-1").replace('SPARE_DT1  "', 'HOUSE_DT   "')
    (tmp_path / "fields").write_text(fields, encoding="latin-1")
    (tmp_path / "enums").write_text((built_in / "enumtype.def").read_text("latin-1"), encoding="latin-1")
    own = '[fields]\ndictionary = ["fields", "enums"]\n'
    site.configure("simulated", more=own)
    assert site.config.parent == tmp_path
    for args, status in (([], "nakked"), (["--config", str(site.config)], "acked")):
        with simulated("--port", "0", *args) as (_, address):
            site.configure(address, more=own)
            site.drop("prices.csv", sheet("A=T,2026-11-22", header="RIC,HOUSE_DT"))
            assert site.once()[1][0]["totals"][status] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal_with_0(number: signal.Signals) -> None:
    with simulated("--port", "0") as (process, address):
        began_s = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert time.monotonic() - began_s < PROMPTLY_S
    assert process.returncode == 0, err
    assert out == ""
    assert "Traceback" not in err

    with ads(port=int(address.rpartition(":")[2])) as again:  # and its port is free at once
        assert again.address == address


def test_a_port_that_is_taken(site: Site) -> None:
    with simulated("--port", "0") as (_, address):
        done = CliRunner().invoke(main, ["simulate", "--port", address.rpartition(":")[2]])
    assert done.exit_code == 2
    assert address in done.stderr
    assert "Choose another port" in done.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            '[[faults]]\nkind = "nack"\n\n[[faults]]\nkind = "delay_ack"\n',
            ("faults[0]", '"nak"', "faults[1]", "delay_s"),
        ),
        ('[[faults]]\nkind = "nak"\ncode = "X"\nrick = "A"\n', ('"rick"', '"ric"')),
        ('[[fault]]\nkind = "nak"\n', ('"fault"', '"faults"')),
        ("faults = [", ("is no TOML",)),
    ],
)
def test_a_wrong_fault_script_with_all_its_problems(tmp_path: Path, text: str, named: tuple[str, ...]) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text(text)
    done = CliRunner().invoke(main, ["simulate", "--port", "0", "--faults", str(faults)])
    assert done.exit_code == 2
    assert str(faults) in done.stderr
    for words in named:
        assert words in done.stderr


def test_no_such_fault_script(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["simulate", "--port", "0", "--faults", str(tmp_path / "none.toml")])
    assert done.exit_code == 2
    assert "none.toml" in done.stderr
