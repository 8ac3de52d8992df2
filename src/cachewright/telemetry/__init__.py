"""What the server tells of its own work to those who watch over it: metrics for Prometheus, traces for OpenTelemetry.

What belongs here: turning what is on record into their formats. What does not: anything that a caller of the API asks
for, and any record of its own.
"""
