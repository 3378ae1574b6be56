"""Tables of sockets as ss, netstat and /proc/net print them, as rows of snapshots.

text       bytes to lines, UTF-16 and colours taken away
times      when a snapshot was taken
tables     lines to snapshots to sections of one tool, and what is held back between blocks
ss, netstat, proc_net     one tool each: its headers, and its rows
rows       rows to events: ends, roles, ids
"""
