"""The console: pages for a browser, and the session that they are signed in with.

What the pages show and do goes over the API that everybody uses; what is here is the files themselves and the cookie.
"""
