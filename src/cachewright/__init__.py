"""Managed Valkey caches on your own hosts, behind the Huawei Cloud DCS v2 API.

Modules import only from their own layer and those after it: `cli`, `server`, `agent`, `client`, `api`, `telemetry`,
`services`, `monitoring`, `operations`, `topologies`, `placement`, `webhooks`, `tasks`, `jobs`, `valkey`, `backups`,
`hosts`, `store`, `model`, `flavors`, `heartbeats`, `threads`, `concurrency`, `structs`, `signature`, `errors`,
`config`, `clock`, `disk_reserve`, `private_files`, `logs`.
"""

__version__ = "0.2.0.dev0"
