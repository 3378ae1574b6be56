"""Sources, formats, enrichment: from bytes to conformed events."""
