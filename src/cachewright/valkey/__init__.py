"""The data plane: configuration, node control, topology, slot plans, slot migration.

All knowledge of Valkey's commands and files is here. Operations such as a resize belong to `operations`, processes to
`hosts`.
"""
