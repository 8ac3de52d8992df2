"""The data plane: configuration, node control, topology, slot plans, slot migration.

What belongs here: everything that knows Valkey's commands and files. What does not: what a resize or a deletion is
(`operations`), and where processes run (`hosts`).
"""
