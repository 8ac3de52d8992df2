"""Stored records. Times are UTC epoch milliseconds and sizes bytes, unless a name says otherwise."""
