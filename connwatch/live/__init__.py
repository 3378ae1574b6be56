"""Following logs as they are written: the pipeline of a replay, without an end.

    follow   files through rotation, whole lines                   connwatch.ingest.follow
    order    lines into records, streams merged on log time        connwatch.ingest.live
    enrich, dedupe, link, match, count, fold                       as connwatch.pipeline
    deliver  with positions and state of detection, in one commit  connwatch.sinks.embedded

`session` is one stretch of this between two (re)starts, `run` what keeps sessions going, `status`
what is told about them.
"""
