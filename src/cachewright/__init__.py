"""Managed Valkey caches on machines you own, behind the Huawei Cloud DCS v2 API.

Modules import only from their own layer and those behind it: `cli`, `api`, `telemetry`, `operations`, `tasks`,
`valkey`, `hosts`, `store`, `flavors`, `threads`, `concurrency`, `structs`, `errors` and `config`, `logs`.
"""

__version__ = "0.2.0.dev0"
