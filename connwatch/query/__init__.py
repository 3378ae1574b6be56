"""KQL: one tree, compiled to whatever keeps the events."""
