"""From a file in a folder to acknowledged posts and a report.

``arrivals`` turns complete files into numbered drops, ``job`` takes one drop from its bytes to its report in one
straight line, and ``loop`` lets the jobs of all feeds take turns on one connection.
"""
