"""Sliding windows on log time: what correlations and analytics count, exactly, at every record."""
