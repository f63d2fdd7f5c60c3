"""LSEG's WebSocket protocol as an ADS speaks it, without sockets, threads or a clock."""
