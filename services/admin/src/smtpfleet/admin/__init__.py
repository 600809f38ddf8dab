"""The admin role: what operators and their tools ask over HTTP.

Asks the other roles over the bus and answers as JSON. Holds no state and reaches no store. OpenSMTPD: smtpctl and control.c.
"""
