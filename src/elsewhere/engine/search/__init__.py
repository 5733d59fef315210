"""The search of an index over windows.

index: what is known of the keys. build: how it is made. gaussians: its tables at one noise level. plan, rounds, error,
neighbours: a search. attribution: which keys weigh most. cache, validation: indexes on disk. settings: all numbers.
"""
