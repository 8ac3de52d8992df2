"""Tables, queries and migrations, on SQLite or PostgreSQL.

`database.py` is the port. Functions of the other modules read or write records in the caller's transaction. Decisions
that depend on a state belong to `tasks` and `operations`.
"""
