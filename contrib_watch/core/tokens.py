"""Columns of tokens (see ``model``) in a table."""

import pandas as pd
import pyarrow as pa

TOKENS = pd.ArrowDtype(pa.string())
"""The dtype of every column of tokens; a missing value is a blank cell: nothing is contributed for it."""
