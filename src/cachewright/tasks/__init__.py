"""Durable execution of plans: run, resume, progress, remaining time, history.

Code here applies to every kind of task. Operations belong in `operations`, Valkey in `valkey`.
"""
