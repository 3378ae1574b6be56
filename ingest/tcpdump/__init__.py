"""Packets as tcpdump prints them.

packet     the columns of a packet, whatever options it was printed with
text       files: which are tcpdump's, where a record ends, what is held back between blocks
clock      the time in front of a packet, in every form
plain      blocks whose records begin alike, from their bytes; all others go through
records    lines to records of one or more lines
quick      common records as columns (skeleton, fields, words)
reader     records to packets and frames: the door without events
exact      one record: lead (link), ip (headers), bodies, icmp, options
dumps      the bytes that records show (-x, -X), many at once
payload    what packets carry, from these bytes
events     packets and frames as events
"""
