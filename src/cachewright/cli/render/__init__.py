"""A task on a screen: as a living tree, or a line a change.

What belongs here: what the API says of a task, taken apart and drawn; all of it pure. What does not: asking the API.
"""
