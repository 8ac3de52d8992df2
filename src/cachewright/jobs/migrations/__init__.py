"""Migrations from outside, on the machine where the gateways run: that of the server, or that of an agent.

It is independent of the database and of tasks. What it needs of them comes through `caller`.

- `caller`: the port to the sub-step and the record of a migration; `orders`: its implementation for an agent
- `machine`: the machine of the gateways; `unused`: removal of gateways that no server needs any more
- `parts`: the work of the sub-steps
- `run`: a running migration: its source, its gateways
- `shards`: the parts of a source, and arguments of the sub-steps
- `gateway_limits`: what gateways may take of the machine
- `copying`: copies of all keys, and of changed keys
- `following`: rounds of copies until the cut-over; `figures`: what is shown of it
- `lag`: how far the instance is behind the source
- `quiet`: whether the source gets no more writes
- `throttle`: the limit on the bandwidth
"""
