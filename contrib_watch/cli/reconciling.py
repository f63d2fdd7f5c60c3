"""``reconcile`` and ``resend``: what the ADS holds against what it should hold, and all of it once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from contrib_watch.cli.progress import counting
from contrib_watch.cli.running import posting
from contrib_watch.cli.terminal import coloured, counted, escape, print_table, stdout
from contrib_watch.config import Settings
from contrib_watch.core.fields import Dictionary
from contrib_watch.core.model import Status
from contrib_watch.core.wording import plural
from contrib_watch.pipeline.readback import Finding, Held
from contrib_watch.pipeline.reconciling import Reconciled, chosen_services


def reconcile(settings: Settings, dictionary: Dictionary, *, service: str | None, repair: bool) -> Reconciled:
    """Read back what the ADS should hold, and (``repair``) post again what it does not.

    Raises StateError where a process runs, NoConnection and LoginRefused.
    """
    with posting(settings, dictionary) as (desk, task), counting("items") as advanced:
        return task.reconcile(chosen_services(desk, service), repair=repair, advanced=advanced)


def resend(settings: Settings, dictionary: Dictionary, *, service: str | None, pattern: str) -> dict[Status, int]:
    """Post again, in full, what the ADS should hold of the RICs that a shell-style pattern fits.

    Raises StateError where a process runs, NoConnection and LoginRefused.
    """
    with posting(settings, dictionary) as (desk, task), counting("posts") as advanced:
        return task.resend(chosen_services(desk, service), pattern, advanced=advanced)


def reconciled_json(result: Reconciled) -> dict[str, Any]:
    """``reconcile --json``: every item that was not as it should be.

    ``found`` are the items before a repair, ``left`` those after it; ``held`` is ``missing``, ``different`` or
    ``unreadable``; ``in_doubt``: the value that it was compared with was posted, but never acknowledged.
    """
    return {
        "items": result.items,
        "found": [_finding(one) for one in result.findings],
        "resent": {status.value: count for status, count in result.resent.items()},
        "left": [_finding(one) for one in result.left],
    }


def print_reconciled(result: Reconciled) -> None:
    """The differences as a table, and a line with the sums."""
    console = stdout()
    left = set(result.left)
    if result.findings:
        rows = [
            (
                escape(one.service),
                escape(one.ric),
                coloured(one.held.value),
                escape(str(one)) if one.held is not Held.MISSING else "",
                "" if one.certain else "never acknowledged: left to the next drop",
                "" if one in left or not result.resent else "[green]posted again[/]",
            )
            for one in result.findings
        ]
        print_table(console, "not as acknowledged", ("Service", "RIC", "held", "what", "note", "now"), rows)
    counts = Counter(one.held for one in result.findings)
    sums = ", ".join(f"{counts[held]:,} {held.value}" for held in Held if held is not Held.SAME)
    console.print(f"{plural(result.items, 'item')} read back: {result.items - len(result.findings):,} same, {sums}")
    if result.resent:
        console.print(f"posted again: {counted(_by_status(result.resent))}; still not right: {len(result.left):,}")


def print_resent(totals: Mapping[Status, int]) -> None:
    """What the ADS said to what was posted again."""
    if not totals:
        click.echo("nothing to post: no RIC that the ADS should hold fits", err=True)
        return
    stdout().print(f"{plural(sum(totals.values()), 'RIC')} posted again: {counted(_by_status(totals))}")


def exit_code_of(totals: Mapping[Status, int]) -> int:
    """4: some are unconfirmed; 3: some were refused."""
    return 4 if totals.get(Status.UNCONFIRMED) else 3 if totals.get(Status.NAKKED) else 0


def _by_status(totals: Mapping[Status, int]) -> list[tuple[str, int]]:
    return [(status.value, totals[status]) for status in Status if totals.get(status)]


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "service": one.service,
        "ric": one.ric,
        "held": one.held.value,
        "differences": [difference._asdict() for difference in one.differences],
        "why": one.why,
        "in_doubt": not one.certain,
    }
