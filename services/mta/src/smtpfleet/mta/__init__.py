"""SMTP sessions out: the only role that speaks to the world.

Asks the scheduler for leased envelopes, finds the exchangers of their relay, delivers and reports one outcome per envelope. Keeps
nothing durable. OpenSMTPD: mta.c, mta_session.c.
"""
