"""Text of a task: a tree, or one line per change. Pure; requests to the API belong elsewhere."""
