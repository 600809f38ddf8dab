"""The queue role: messages, envelopes and bounces, durable in the store.

A message enters by commit, its envelopes leave by their outcomes; in between the scheduler decides who works on them. OpenSMTPD:
queue.c, queue_backend.c, bounce.c.
"""
