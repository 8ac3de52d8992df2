"""The data plane: configuration, node control, topology, slot plans, slot migration.

All knowledge of Valkey's commands and files belongs here. The meaning of a resize or a deletion belongs to
`operations`, processes belong to `hosts`.
"""
