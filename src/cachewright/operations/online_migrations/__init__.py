"""Migrations of data from other servers into an instance.

- `operation`: the declaration, and its plan
- `run`: a running migration: its record, its source, its gateways
- `copying`: copies of all keys, and of changed keys
- `lag`: how far the instance is behind the source
"""
