"""Long work on the data of nodes, on the machine of each node: snapshots, data of backups, write logs.

An agent performs it, as the server asks by the port of a host (`hosts.jobs`). What is in `spec` is sent, encrypted for
that agent; the other modules run there.
"""
