"""Tables, queries and migrations: what is remembered between one process and the next.

What belongs here: records as they are stored, and functions that read or write them in a caller's transaction.
What does not: decisions about what a state means; those are made in `tasks` and `operations`.
"""
