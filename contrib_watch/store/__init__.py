"""The record: drops and their files, what was posted, and what the ADS acknowledged."""

from contrib_watch.store.drops import Drops
from contrib_watch.store.ledger import Ledger
from contrib_watch.store.state import Lock, State

__all__ = ["Drops", "Ledger", "Lock", "State"]
