"""Processes that work together: their group, their shares, and how they are started and given work."""
