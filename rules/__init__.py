"""Bundled rules and field maps (YAML only)."""
