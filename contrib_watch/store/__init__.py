"""The record: drops and their files, what was posted, and what the ADS acknowledged."""

from contrib_watch.core.chain import Witness
from contrib_watch.store.backup import back_up, back_up_daily, backups_folder, daily_backups
from contrib_watch.store.drops import PENDING, Drops, ReportName, SeenFile
from contrib_watch.store.ledger import Entry, Ledger, Whole
from contrib_watch.store.post_ids import post_ids_of
from contrib_watch.store.record import last_of_kind, utc_text
from contrib_watch.store.restore import restore
from contrib_watch.store.space import shortage
from contrib_watch.store.state import Lock, State

__all__ = [
    "PENDING",
    "Drops",
    "Entry",
    "Ledger",
    "Lock",
    "ReportName",
    "SeenFile",
    "State",
    "Whole",
    "Witness",
    "back_up",
    "back_up_daily",
    "backups_folder",
    "daily_backups",
    "last_of_kind",
    "post_ids_of",
    "restore",
    "shortage",
    "utc_text",
]
