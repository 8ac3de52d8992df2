"""The console: web pages, and the session cookie that authenticates them.

The pages use the public API for everything else.
"""
