"""`cachewright doctor`: checks what a server and its caches need. It changes nothing."""
