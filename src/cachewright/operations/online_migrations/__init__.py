"""Migrations of data from other servers, and from files, into an instance, in the server.

- `operation`: the declaration, and its plan; `imports`: the plan for files
- `run`: a running migration: its record, its source
- `places`: the host of the gateways
- `parts`: the work of sub-steps, here or by an agent; `caller`: what it needs of the sub-step and of the record
- `records`: the record of a migration
- `removal`: removal of gateways
- `files`: the files of an import
"""
