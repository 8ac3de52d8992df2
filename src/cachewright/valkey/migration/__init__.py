"""Slot migration between two nodes: batches, flow control, transfer progress."""
