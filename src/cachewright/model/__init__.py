"""Records without I/O. Times are UTC epoch milliseconds, sizes are bytes unless the name says otherwise."""
