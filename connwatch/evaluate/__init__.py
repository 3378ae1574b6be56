"""How good the rules are: labels of events, what was flagged, and the numbers that follow.

    labels    which events are malicious: columns of the log             `labels`
              the same from a CSV of flows or a YAML of rules            `label_files`
    score     labelled events, hits and alerts -> counts                 `score`
    metrics   counts -> precision, recall, F1, intervals                 `metrics`
    sweep     a rule with another value of one parameter                 `sweep`
    report    tables, JSON, a page, curves                               `report`, `page`, `plot`

Frames and documents in, numbers and text out: reading logs and running rules is left to
`connwatch.cli.evaluate`.
"""

from __future__ import annotations
