"""How fast it is, against what it could be: `make bench`.

What belongs here: one module per benchmark, what they share to start, load and ask real clusters, and what draws the
results. What does not: assertions on speed; nothing here fails because a machine is slow.
"""
