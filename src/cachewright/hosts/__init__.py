"""Machines that run nodes: processes, folders, ports, memory, firewall.

`host.py` is the port through which the rest of the server uses a machine, `local.py` implements it for this one. What
does not belong here: what a process is for; the contents of its files come from `valkey`.
"""
