"""Names of node roles in replies of Valkey servers."""

from collections.abc import Mapping

from cachewright.model.instances import Role

ROLES: Mapping[str, Role] = {"master": "primary", "slave": "replica"}
"""Roles of nodes by the `role` field of INFO."""
