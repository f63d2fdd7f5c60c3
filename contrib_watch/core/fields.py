"""Columns of text, typed by the field dictionary."""

from __future__ import annotations

from contrib_watch.core.dictionary import Dictionary, FieldDef, Kind

__all__ = ["Dictionary", "FieldDef", "Kind"]
