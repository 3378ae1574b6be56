"""Packets put together into flows, as Zeek's conn.log has them.

ports        which ports are services', and which ICMP types answer one another
machine      TCP: what the next packet does to a connection, and when one is over
arrays       arrays in groups, which all of these are made of
packets      frames of packets as sorted arrays, one conversation behind the other
connections  what each packet of TCP does to the connection that it finds
split        conversations to flows: time-outs, ports used again
sequence     sequence numbers: payload bytes, retransmissions
gaps         bytes that were acknowledged and never seen
history      the letters of Zeek's history
fill         how flows began, and their counts
table        flows by row, those that are open and those that are over
assemble     all of that, slice by slice: `assemble(packets, state) -> (flows, state)`
events       flows as events
"""
