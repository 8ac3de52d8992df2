"""Commands that ask a server over its public API, from wherever it can be reached.

What belongs here: where the server is and who asks, requests, and what is printed of the answers. What does not: any
import of what the server is made of, save spec codes and the signing of requests, which clients share.
"""
