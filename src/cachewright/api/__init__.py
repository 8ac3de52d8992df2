"""The DCS v2 contract over HTTP.

What belongs here: authentication and permissions, parsing of requests, the exact shape of responses. What does not:
decisions and queries. A route parses, calls one function of a service and shapes the response.
"""
