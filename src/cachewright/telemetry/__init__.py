"""Telemetry for operators: metrics for Prometheus, traces for OpenTelemetry.

Code here converts the record of the server to their formats. It stores no record of its own and serves no user of the
API.
"""
