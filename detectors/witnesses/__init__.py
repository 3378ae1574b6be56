"""One flow, several witnesses: which records tell of the same connection, so that it counts once.

    records.py   what tells of a connection, and who
    flows.py     what is remembered of flows from batch to batch
    counting.py  which flow a record tells of, and whether it counts
    told.py      what each kind of record can tell, and a condition taken apart by that
    united.py    rules whose condition the records of a flow meet together
    explained.py which of them said what

A record of a connection belongs to the flow of an earlier one (in the order of log time) of another
*witness*, that is another dataset, sensor, or side of a socket, when both have the same Community
ID and their times overlap; else it begins a flow. Two connections of one witness stay two flows,
but for what tells of a connection that goes on (`conn_long` and the like), and does so again.
Of the records of a flow the first that a rule can count is counted, and the others are not; that
may be one that meets the rule with what others said before. None of this depends on where batches
end.
"""
