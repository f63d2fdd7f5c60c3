"""Contributes what changed in dropped spreadsheets to an LSEG ADS, and reports what became of every row."""
