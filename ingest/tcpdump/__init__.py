"""Packets as tcpdump prints them.

packet     the columns of a packet, whatever options it was printed with
"""
