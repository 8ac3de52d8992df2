"""Commands that use the public API of a server, on this host or elsewhere.

Code here sends requests with `client` and prints responses. It imports no module of the server, except those that
clients share: spec codes and the signature of requests.
"""
