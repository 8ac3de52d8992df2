"""Tables, queries and migrations, on SQLite or PostgreSQL.

`database.py` is the port. Functions of the other modules read or write records in the caller's transaction. Decisions
about what a state means belong to `tasks` and `operations`.
"""
