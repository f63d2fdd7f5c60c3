"""What a terminal shows of a run."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress, TextColumn

from contrib_watch.cli.progress import BarProgress


def test_what_posts_wait_for_is_shown_until_they_go_on() -> None:
    bars = Progress(TextColumn("{task.description}"), console=Console(file=io.StringIO()))
    progress = BarProgress(bars)
    progress.waiting("connection", "ads1:15000: Connection refused")
    progress.waiting("connection", "ads2:15000: Connection [refused]")
    progress.waiting("Service NIPROV", "SourceDown: no route")
    assert [task.description for task in bars.tasks] == [
        "waiting for the connection: ads2:15000: Connection \\[refused]",
        "waiting for the Service NIPROV: SourceDown: no route",
    ]
    progress.waiting("connection", "")
    progress.waiting("Service OTHER", "")
    assert [task.description for task in bars.tasks] == ["waiting for the Service NIPROV: SourceDown: no route"]
