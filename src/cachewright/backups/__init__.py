"""Backups at rest: where they are stored, how they are encrypted, what describes them. No connection to a node.

A backup is a folder of objects in a storage: encrypted parts of one RDB file for each shard, and a manifest. It exists
when its manifest does, which is written last.
"""
