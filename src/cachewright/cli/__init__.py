"""The commands a person types. Nothing here reaches behind the public API except `serve`."""
