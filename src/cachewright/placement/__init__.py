"""Which nodes an instance has, where they listen, and whether the host has room for them."""
