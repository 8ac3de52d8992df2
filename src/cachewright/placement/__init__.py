"""Capacity of hosts and quotas, and reservation of ports for nodes."""
