"""The whole fleet on one machine: embedded NATS and Redis, the seven roles as processes, with all they keep under one folder.

`python -m smtpfleet.local up` is `make up`; tests, bench and fault runs start the same Fleet (fleet.py). Nothing here is imported by
a role or belongs into a container. OpenSMTPD's counterpart is the parent process of smtpd.c.
"""
