"""The embedded store: Parquet segments and one SQLite catalogue."""
