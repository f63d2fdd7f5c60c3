"""Any history of a folder, against a model of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from folder_site import (
    SETTLE_S,
    Clock,
    contents,
    let_time_tick,
    open_folder,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contrib_watch.adapters.folder.reading import signature_of


class Histories(RuleBasedStateMachine):
    """Writers create, append, rewrite, rename and delete; a scan runs now and then; time passes.

    The model numbers every version of a path. A version is handed out once, by the first scan that finds it
    unchanged for the settle time since a scan first saw it, and with its very bytes.
    """

    names = st.sampled_from(["a.csv", "b.csv", "c.xlsx", "d.tmp"])

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.inbox = self.place / "inbox"
        self.inbox.mkdir()
        self.clock = Clock()
        self.folder = open_folder(self.inbox, self.clock)
        self.files: dict[str, tuple[int, bytes]] = {}
        self.first_seen_s: dict[tuple[str, int], float] = {}
        self.handed_out: list[tuple[str, int]] = []
        self.versions = 0
        self.doubted_s: dict[tuple[str, int], float] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def put(self, name: str, content: bytes) -> None:
        self.versions += 1
        self.files[name] = (self.versions, content)

    @rule(name=names, content=st.binary(max_size=4))
    def rewrite(self, name: str, content: bytes) -> None:
        (self.inbox / name).write_bytes(content)
        self.put(name, content)

    @rule(name=names, content=st.binary(min_size=1, max_size=4))
    def append(self, name: str, content: bytes) -> None:
        with (self.inbox / name).open("ab") as file:
            file.write(content)
        self.put(name, self.files.get(name, (0, b""))[1] + content)

    @precondition(lambda self: any(content for _, content in self.files.values()))
    @rule(data=st.data())
    def rewrite_with_the_same_size_and_mtime(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, (_, content) in self.files.items() if content]))
        kept = (self.inbox / name).stat()
        content = bytes(byte ^ 1 for byte in self.files[name][1])
        with (self.inbox / name).open("r+b") as file:
            file.write(content)
        os.utime(self.inbox / name, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        self.put(name, content)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=names)
    def rename(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.inbox / name).rename(self.inbox / to)
        if name != to:
            self.put(to, self.files.pop(name)[1])

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.inbox / name).unlink()
        del self.files[name]

    @rule()
    def restart(self) -> None:
        """A new process that knows what the old one handed out."""
        known = {
            name: signature_of((self.inbox / name).stat())
            for name, (version, _) in self.files.items()
            if (name, version) in self.handed_out
        }
        self.folder = open_folder(self.inbox, self.clock, known=known)
        self.first_seen_s.clear()
        self.doubted_s.clear()

    @rule(pause_s=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
    def scan(self, pause_s: float) -> None:
        self.clock.now_s += pause_s
        found = self.folder.scan()
        expected: dict[str, bytes] = {}
        seen = {(name, version) for name, (version, _) in self.files.items()}
        self.first_seen_s = {key: self.first_seen_s.get(key, self.clock.now_s) for key in seen}
        for name, (version, content) in self.files.items():
            settled = self.clock.now_s - self.first_seen_s[name, version] >= SETTLE_S
            if name.endswith(".tmp") or not settled or (name, version) in self.handed_out:
                continue
            if not self.waits_for_a_second_look(name, version, content):
                expected[name] = content
                self.handed_out.append((name, version))
        assert contents(found) == expected
        assert found.states.keys() == self.files.keys()
        let_time_tick(self.inbox)

    def waits_for_a_second_look(self, name: str, version: int, content: bytes) -> bool:
        """A settled content with a NUL waits for a second settle time, from the scan that finds it settled."""
        return b"\0" in content and (
            self.clock.now_s - self.doubted_s.setdefault((name, version), self.clock.now_s) < SETTLE_S
        )

    @invariant()
    def nothing_is_handed_out_twice(self) -> None:
        assert len(set(self.handed_out)) == len(self.handed_out)


Histories.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_any_history = pytest.mark.timeout(60)(Histories.TestCase)
