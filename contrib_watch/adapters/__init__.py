"""Everything that touches the outside; no adapter imports another."""
