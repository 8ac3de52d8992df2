"""Migrations of data from other servers, and from files, into an instance.

- `operation`: the declaration, and its plan; `imports`: the plan for files
- `run`: a running migration: its record, its source, its gateways
- `shards`: the parts of a source
- `records`: the record of a migration
- `removal`: removal of gateways
- `gateway_limits`: what gateways may take of the machine
- `files`: the files of an import
- `copying`: copies of all keys, and of changed keys
- `lag`: how far the instance is behind the source
- `quiet`: whether the source gets no more writes
- `throttle`: the limit on the bandwidth
"""
