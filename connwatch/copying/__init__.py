"""`connwatch copy`: events and alerts of a span of time from the store to a server, or back.

progress    what is copied, how far it is, and what became of it
to_server   from a store to a server
to_store    from a server to a store
"""
