"""What crosses the bus and what the store holds: ids, envelope, outcome, status, commands, events, subjects, keys.

Frozen msgspec structs and tables of names. No I/O, no clock. Every other package imports from here; this one imports none of
ours. The OpenSMTPD counterpart is the list of messages and structs in smtpd.h.
"""
