"""The mda role: deliveries into mail homes.

Leases local envelopes from the scheduler, loads them from queue, writes them into maildirs durably and reports an outcome for each.
Never reaches Redis and never speaks SMTP. The only role that sees homes. OpenSMTPD: mda.c and delivery_maildir.c.
"""
