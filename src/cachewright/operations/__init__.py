"""One module per kind of background task: what it is allowed to start from, its plan, and its sub-steps' bodies.

What belongs here: decisions about instances. What does not: HTTP (`api`), durable running of a plan (`tasks`), and
knowledge of how Valkey is spoken to (`valkey`).
"""
