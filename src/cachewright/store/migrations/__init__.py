"""Alembic's environment and migrations from the tables of each release to those of the next."""
