"""Elasticsearch 8 and 9: connection, indices, writing and searching."""
