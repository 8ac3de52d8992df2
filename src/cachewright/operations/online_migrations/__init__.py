"""Migrations of data from other servers into an instance.

- `operation`: the declaration, and its plan
- `run`: a running migration: its record, its source, its gateways
- `records`: the record of a migration
- `removal`: removal of gateways
- `copying`: copies of all keys, and of changed keys
- `lag`: how far the instance is behind the source
"""
