"""Packets put together into flows, as Zeek's conn.log has them.

ports      which ports are services', and which ICMP types answer one another
machine    TCP: what the next packet does to a connection, and when one is over
packets    frames of packets as sorted arrays, one conversation behind the other
split      conversations to flows: time-outs, ports used again
sequence   sequence numbers: payload bytes, retransmissions, gaps
history    the letters of Zeek's history
table      the flows that are open, as a table that can be saved
assemble   all of that, slice by slice: `assemble(packets, state) -> (flows, state)`
events     flows as events
"""
