"""Durable execution of plans: run, resume, progress, remaining time, history.

What belongs here: what is true of every task, whatever it does. What does not: what any one kind of task does
(`operations`), and Valkey.
"""
