"""The DCS v2 contract over HTTP.

Authentication, permissions, parsing of requests and the exact shape of responses are here. Decisions and queries are
not: a route parses, calls one function of a service and shapes the response.
"""
