"""What the ADS holds otherwise although it acknowledged it twice: posting it a third time is no use.

LSEG's SDK for Java, for one, keeps a REAL of many digits as a double. What is known stands in the state, so that no
later process takes it for a lost cache, and only as long as what the item should hold stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from contrib_watch.pipeline.readback import Finding, Held
from contrib_watch.pipeline.repair import by_service
from contrib_watch.store import State
from contrib_watch.store.repairs import Repairs

_KEY = "stubborn"


class Stubborn:
    """The findings that a repair did not cure."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._repairs = Repairs(state)

    def news(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those that were not so in just this way after they had been posted again."""
        found = list(findings)
        known = self._known() if found else {}
        old = [one for one in found if known.get(one.service, {}).get(one.ric, {}).get("told") == _told(one)]
        wanted = self._wanted(old)
        same = {one for one in old if known[one.service][one.ric]["fields"] == wanted.get((one.service, one.ric))}
        return [one for one in found if one not in same]

    def learn(self, findings: Sequence[Finding]) -> None:
        """These were still so after they had been posted again. What the record has replaced since is forgotten.

        An item that is missing is no such: the ADS may have lost it once more, and takes it the next time.
        """
        findings = [one for one in findings if one.held is Held.DIFFERENT]
        if not findings:
            return
        with self._state.transaction():
            known = self._known()
            for one in findings:
                known.setdefault(one.service, {})[one.ric] = {"told": _told(one)}
            wanted = self._wanted(findings)
            for one in findings:
                known[one.service][one.ric]["fields"] = wanted.get((one.service, one.ric))
            kept = {service: self._kept(service, items) for service, items in known.items()}
            self._state.put(_KEY, json.dumps(kept))

    def _kept(self, service: str, items: dict[str, Any]) -> dict[str, Any]:
        wanted = self._repairs.wanted(service, list(items))
        return {ric: told for ric, told in items.items() if ric in wanted and wanted[ric].fields == told["fields"]}

    def _known(self) -> dict[str, dict[str, Any]]:
        """By Service and RIC: the ``fields`` that the item should hold, and what was ``told`` of it."""
        return dict(json.loads(self._state.get(_KEY) or "{}"))

    def _wanted(self, findings: Iterable[Finding]) -> dict[tuple[str, str], str]:
        grouped = by_service((one.service, one.ric, "") for one in findings)
        return {
            (service, ric): wanted.fields
            for service, rics in grouped
            for ric, wanted in self._repairs.wanted(service, list(rics)).items()
        }


def _told(finding: Finding) -> list[Any]:
    """As JSON keeps it: how it is held, and each field with the wanted and the held value."""
    return [finding.held.value, [list(one) for one in finding.differences]]
