"""Alembic's environment and the steps from each release's tables to the next's."""
