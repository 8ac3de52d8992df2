"""The resize of an instance: its request, its plan with estimates, and the checks before it."""
