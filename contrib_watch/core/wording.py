"""Counts as people say them."""


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``"""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
