"""What callers of the API may do: instances, tasks, webhooks, accounts, tokens."""
