"""Benchmarks: each prints ratios against a baseline of the same run."""

import connwatch  # noqa: F401  before Polars: it tells the allocator how the program is run
from connwatch.memory import keep_much

keep_much()  # as a replay does
