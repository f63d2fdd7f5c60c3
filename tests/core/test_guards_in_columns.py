"""Guards in columns, held to the rules as they read for one value; and the words in which a breach is told."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from row_by_row import CONFIGURED, FEED, quotes, snapshot

from contrib_watch.core.diff import diff
from contrib_watch.core.guards import Breach, Circumstances, check, largest_moves
from contrib_watch.core.limits import Guards, Limit
from contrib_watch.core.model import TOKENS

AROUND = Circumstances(known_rics=4, is_first=False, days=(date(2026, 11, 22), date(2026, 11, 20)))
TWENTY = Limit(Decimal(20), percent=True)
