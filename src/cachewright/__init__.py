"""Managed Valkey caches on machines you own, behind the Huawei Cloud DCS v2 API.

Imports run down this list and never up: `cli`, `api`, `operations`, `tasks`, `valkey`, `hosts`, `store`,
`flavors`, `config`.
"""

__version__ = "0.2.0.dev0"
