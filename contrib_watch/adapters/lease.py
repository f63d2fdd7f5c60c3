"""A lease on a watched folder: a hidden file that tells other installations that this one contributes from it.

Two installations with states of their own would each publish every file of one folder, and overwrite each other's
newer prices. The lease names host, process and state, and is written anew every few seconds. Another installation
that finds it there watches it: once it changes, its holder lives, and the folder is refused; where it stays the same
for LAPSE_S, its holder is gone, and the lease is taken over. Only the watcher's own monotonic clock is asked, never
the time that another host wrote.

A lease of a process of the same state that was killed on the same machine is renewed by the next one at once. Where
another process of that state lives, or may live on another host, there is a copy of the state, which is another
installation.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import structlog

from contrib_watch.core.settle import OWN_PREFIX
from contrib_watch.errors import StateError

LEASE_NAME = f"{OWN_PREFIX}lease.json"
"""The lease's name; hidden, so that it is no drop."""
HEARTBEAT_S = 5.0
"""How often a lease is written anew."""
LAPSE_S = 30.0
"""How long a lease must stay the same to count as a dead one's: several heartbeats, and what shares cache."""
_LOOK_S = 0.25
"""How often a lease of somebody else is looked at."""
_STOP_S = 2.0
"""How long a stop waits for a folder; one that hangs keeps its lease, which lapses."""

log = structlog.get_logger()


class Holder(NamedTuple):
    """Whom a lease names; ``unknown`` where it cannot be read."""

    host: str = "unknown"
    pid: int | str = "unknown"
    state: str = "unknown"
    token: str = ""
    """Of one process's start: a copy of the state names the same state, and pids are given again."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, state {self.state}"


class _Found(NamedTuple):
    """A lease as it was found; two that are equal show no heartbeat between them."""

    content: bytes
    mtime_ns: int

    @property
    def holder(self) -> Holder:
        try:
            told = json.loads(self.content)
            return Holder(str(told["host"]), int(told["pid"]), str(told["state"]), str(told.get("token", "")))
        except (ValueError, KeyError, TypeError):  # empty after a power cut, or not ours
            return Holder()


class Lease:
    """This installation's lease on one folder, kept by a thread of its own: a share that hangs holds up no other."""

    def __init__(self, folder: Path, state_id: str, *, heartbeat_s: float = HEARTBEAT_S, lapse_s: float = LAPSE_S):
        self._folder = folder
        self._path = folder / LEASE_NAME
        self._holder = Holder(socket.gethostname(), os.getpid(), state_id, secrets.token_hex(8))
        self._heartbeat_s = heartbeat_s
        self._lapse_s = lapse_s
        self._rival: _Found | None = None
        self._rival_since_s = 0.0
        self._held = False
        self._trouble = ""
        self._settled = threading.Event()
        self._stopping = threading.Event()
        self._refusal: StateError | None = None
        self._refused: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"lease {folder}", daemon=True)

    def start(self) -> None:
        """Begin; a Lease is started once."""
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until the folder is ours, or cannot have a lease. Raises StateError where another one has it."""
        self._settled.wait(timeout_s)
        if self._refusal is not None:
            raise self._refusal

    def interrupt(self) -> None:
        """End :meth:`wait`; from any thread."""
        self._settled.set()

    def when_refused(self, call: Callable[[], object]) -> None:
        """Call this, from another thread, if the folder turns out to be another installation's from here on."""
        self._refused = call
        if self._refusal is not None:
            call()

    @property
    def refusal(self) -> StateError | None:
        """Why the folder is not to be used; None: it may be."""
        return self._refusal

    def contested(self) -> str:
        """Why nothing may be taken from the folder at present; empty: it may."""
        if self._refusal is not None:
            return self._refusal.what
        rival = self._rival
        if rival is None:
            return ""
        return (
            f"the folder has the lease of {rival.holder}, which lapses after {self._lapse_s:g} s without a heartbeat"
        )

    def release(self) -> None:
        """Stop, and take the lease away where it is still ours."""
        self._stopping.set()
        self._thread.join(_STOP_S)
        if self._thread.is_alive() or not self._held:
            return
        try:
            found = self._read()
            if found is not None and found.holder == self._holder:
                self._path.unlink()
        except OSError as error:
            log.warning(
                "the lease stays in the folder, where it lapses", folder=str(self._folder), why=error.strerror
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                settled = self._beat(time.monotonic())
            except StateError as refusal:
                self._refusal = refusal
                self._settled.set()
                self._refused()
                return
            if settled:
                self._settled.set()
            self._stopping.wait(self._heartbeat_s if settled else min(_LOOK_S, self._heartbeat_s))

    def _beat(self, now_s: float) -> bool:
        """Renew the lease, or watch another one's; False: whose the folder is has still to be seen."""
        try:
            found = self._read()
            if found is None or found.holder == self._holder or self._left_behind(found.holder):
                self._rival = None
                if found is not None:
                    self._write()
                elif not self._create():
                    return False  # somebody was quicker
                self._held, self._trouble = True, ""
                return True
            self._watch(found, now_s)
        except OSError as error:
            self._do_without(error)
            return True
        return False

    def _left_behind(self, holder: Holder) -> bool:
        """A process of this installation that was killed on this machine: nobody else has this state."""
        if self._held or (holder.state, holder.host) != (self._holder.state, self._holder.host):
            return False
        return holder.pid == self._holder.pid or not _is_alive(holder.pid)

    def _watch(self, found: _Found, now_s: float) -> None:
        if self._held or (self._rival is not None and found != self._rival):
            raise self._other(found.holder)
        if self._rival is None:
            self._rival, self._rival_since_s = found, now_s
            log.info("the folder has a lease; waiting whether its holder lives", folder=str(self._folder))
        elif now_s - self._rival_since_s >= self._lapse_s:
            log.warning("a lease has lapsed and is taken over", folder=str(self._folder), of=str(found.holder))
            self._write()  # the next look shows whether somebody else did the same
            self._rival = None

    def _other(self, holder: Holder) -> StateError:
        hint = "Stop one of the two, or give this feed another folder; a dead one's lease lapses by itself"
        who = "a copy of this state" if holder.state == self._holder.state else "another installation"
        what = f"{who} contributes from this folder: {holder}"
        return StateError(what, where=str(self._folder), hint=hint)

    def _do_without(self, error: OSError) -> None:
        """A folder without a lease is used all the same; it is told once."""
        self._held, self._rival = False, None
        trouble = error.strerror or str(error)
        if trouble != self._trouble:
            log.warning(
                "no lease on the folder: a second installation is not noticed", folder=str(self._folder), why=trouble
            )
        self._trouble = trouble

    def _read(self) -> _Found | None:
        try:
            with self._path.open("rb") as file:
                return _Found(file.read(4096), os.fstat(file.fileno()).st_mtime_ns)
        except FileNotFoundError:
            return None

    def _create(self) -> bool:
        """Put a lease where none is; False where there is one by now."""
        temporary = self._prepared()
        try:
            self._path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # a share without hard links
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _write(self) -> None:
        self._prepared().replace(self._path)

    def _prepared(self) -> Path:
        """The lease of this moment under another hidden name, to be renamed: nobody ever reads half of one."""
        temporary = self._path.with_name(f"{OWN_PREFIX}lease-{self._holder.token}.part")
        told = {**self._holder._asdict(), "heartbeat_utc": datetime.now(UTC).isoformat(timespec="milliseconds")}
        temporary.write_text(json.dumps(told) + "\n", encoding="utf-8")
        return temporary


def _is_alive(pid: int | str) -> bool:
    """Whether a process of this machine runs; where that cannot be told, it does."""
    if os.name == "nt" or not isinstance(pid, int) or pid <= 0:  # untested: on Windows, os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class Leases:
    """The leases on all folders of a process, taken when it is entered; one folder by two names has one."""

    def __init__(
        self, folders: Iterable[Path], state_id: str, *, heartbeat_s: float = HEARTBEAT_S, lapse_s: float = LAPSE_S
    ) -> None:
        self._patience_s = lapse_s + 2 * heartbeat_s
        self._places = {folder: folder.resolve() for folder in folders}
        self._leases = {
            place: Lease(place, state_id, heartbeat_s=heartbeat_s, lapse_s=lapse_s)
            for place in dict.fromkeys(self._places.values())
        }

    def interrupt(self) -> None:
        """Wait no longer for whose the folders are; from any thread. They stay contested as they were."""
        for lease in self._leases.values():
            lease.interrupt()

    def when_lost(self, call: Callable[[], object]) -> None:
        """Call this, from another thread, once another installation has one of the folders."""
        for lease in self._leases.values():
            lease.when_refused(call)

    @property
    def lost(self) -> StateError | None:
        """Why the process must not go on; None: it may."""
        return next((lease.refusal for lease in self._leases.values() if lease.refusal is not None), None)

    def contested(self, folder: Path) -> str:
        """Why nothing may be taken from a folder at present; empty: it may."""
        return self._leases[self._places[folder]].contested()

    def __enter__(self) -> Self:
        """Raises StateError where another installation has one of the folders. A folder that hangs is not waited for
        longer than for a dead one's lease."""
        for lease in self._leases.values():
            lease.start()
        until_s = time.monotonic() + self._patience_s
        try:
            for lease in self._leases.values():
                lease.wait(max(0.0, until_s - time.monotonic()))
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for lease in self._leases.values():
            lease.release()
