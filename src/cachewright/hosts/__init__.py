"""Machines that run nodes: processes, folders, ports, memory, firewall.

`host.py` is the port through which the rest of the server uses a machine, `local.py` implements it for this machine.
The purpose of a process and the contents of its files belong to `valkey`.
"""
