"""One module per family of operations. A route parses, calls one function of a service and shapes the response."""
