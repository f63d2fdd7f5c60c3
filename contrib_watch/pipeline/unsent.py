"""What becomes of rows that are not posted, or not again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, compress

from contrib_watch.core.diff import Changes
from contrib_watch.core.model import Outcome, Outcomes, Post, Problem, Quotes, Status, in_columns
from contrib_watch.core.posts import plans, posts


def replaced(row: int, ric: str) -> Outcome:
    """A row of a drop that is processed late."""
    text = "newer drops have given a value for each of its fields"
    return Outcome(row, ric, Status.SUPERSEDED, text=text)


def superseded(post: Post, by: int) -> Outcome:
    """A post for which the drop of the number ``by``, which waits, gives all values."""
    text = f"drop {by} is newer and gives a value for each of its fields"
    if post.attempts:
        text += f"; it was posted {_times(post)} before, and was not acknowledged"
    return Outcome(
        post.row,
        post.ric,
        Status.SUPERSEDED,
        changes=post.changes,
        text=text,
        attempts=post.attempts,
        full=post.full,
        changed=post.changed,
    )


def rejected(problems: Sequence[Problem]) -> list[Outcome]:
    """One outcome for each row that has problems."""
    texts: dict[int, list[str]] = {}
    rics: dict[int, str] = {}
    for problem in problems:
        texts.setdefault(problem.row, []).append(str(problem))
        rics.setdefault(problem.row, problem.ric)
    return [Outcome(row, rics[row], Status.REJECTED, text="; ".join(reasons)) for row, reasons in texts.items()]


def stopped(changes: Changes, status: Status, why: str, *, goes_on: bool) -> Iterator[Outcomes]:
    """What would have been posted, and is not, in pieces; ``goes_on`` as in :func:`not_again`."""
    for piece in plans(changes):
        yield in_columns(not_again(post, status, why, goes_on=goes_on) for post in posts(piece))


def not_again(post: Post, status: Status, why: str, *, goes_on: bool) -> Outcome:
    """A post that this process has not sent, and does not send.

    ``goes_on``: the program was stopped in this run, so what has no answer may have been posted in it.
    """
    if not post.attempts:
        return _unsent(post, status, why)
    text = f"{why}; it was posted {_times(post)} before, without an answer"
    return _unsent(post, Status.UNCONFIRMED if goes_on else status, text)._replace(attempts=post.attempts)


def with_twins(outcomes: Outcomes, quotes: Quotes) -> Outcomes:
    """These outcomes, and the same for the equal copies of their rows, which share a row's post and so its fate."""
    if not quotes.twins:
        return outcomes
    pairs = zip(outcomes["row"], outcomes["ric"], strict=True)
    equal = [(row, *quotes.twins.get(ric, ())) for row, ric in pairs]
    repeated = {
        name: [value for value, rows in zip(values, equal, strict=True) for _ in rows]
        for name, values in outcomes.items()
    }
    return repeated | {"row": list(chain.from_iterable(equal))}


def beyond(outcomes: Outcomes, recorded: Collection[int]) -> Outcomes:
    """Those of rows that are not recorded yet."""
    is_new = [row not in recorded for row in outcomes["row"]]
    return {name: list(compress(values, is_new)) for name, values in outcomes.items()}


def _times(post: Post) -> str:
    return "once" if post.attempts == 1 else f"{post.attempts} times"


def _unsent(post: Post, status: Status, why: str) -> Outcome:
    return Outcome(
        post.row,
        post.ric,
        status,
        action=post.action.value,
        changes=post.changes,
        text=why,
        full=post.full,
        changed=post.changed,
    )
