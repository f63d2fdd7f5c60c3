"""The rules of the product, without I/O, clock, threads or logging."""
