"""What was found about a drop, beside what became of each of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contrib_watch.core.guards import Breach, Move
from contrib_watch.core.model import Problem
from contrib_watch.core.verified import Verified


@dataclass(frozen=True)
class Findings:
    """What a report says beside the rows' outcomes, and what the drop's own bytes do not tell."""

    problems: tuple[Problem, ...] = ()
    """Rows that only the snapshot showed to be wrong."""
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    breaches: tuple[Breach, ...] = ()
    """Guards that the drop did not pass."""
    moves: tuple[Move, ...] = ()
    """The largest moves of a drop that is not sent."""
    verified: Verified | None = None
    """What reading back showed of the acknowledged rows; None: nobody asked."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Findings:
        """What was recorded as JSON; what an older version did not know is empty."""
        return cls(
            tuple(Problem(**problem) for problem in told.get("problems", ())),
            tuple(told.get("missing", ())),
            tuple(told.get("warnings", ())),
            tuple(Breach(**{**breach, "cells": tuple(breach["cells"])}) for breach in told.get("breaches", ())),
            tuple(Move(*move) for move in told.get("moves", ())),
            Verified(*told["verified"]) if told.get("verified") else None,
        )
