"""The scheduler role: who may work on what, and when.

Knows times, ids and relays, never addresses or content; all of its state is in the store, so any number of replicas do the same work
and none is special. OpenSMTPD: scheduler.c, scheduler_ramqueue.c, limit.c.
"""
