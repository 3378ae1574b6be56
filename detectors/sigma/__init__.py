"""Sigma rules compiled into Polars expressions."""
