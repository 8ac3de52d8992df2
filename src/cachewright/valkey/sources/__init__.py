"""Servers outside of this installation whose data migrates into an instance.

- `source`: how to reach a source
- `shape`: find its primaries, and what they hold
- `gateway`: a replica of one primary, on this machine, from which keys are copied
- `changed_keys`: the keys that change on a gateway
- `copier`: copies keys from a gateway to the nodes of an instance
- `direct_copier`: copies keys of a source that cannot be replicated
- `relay`: leads a gateway to a source with TLS
- `files`: RDB files at URLs
"""
