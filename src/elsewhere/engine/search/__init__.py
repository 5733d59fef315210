"""The search: an index over windows, and the keys in it that matter to a query."""
