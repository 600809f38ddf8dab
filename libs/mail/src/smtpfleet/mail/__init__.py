"""The mail rules: addresses, SMTP grammar, ruleset, expansion, Received, dots, format strings, back-off, bounces.

Pure: no sockets, no clock, no event loop; whoever needs the time passes it in. Called by every service, imports contracts alone.
The OpenSMTPD counterpart is to.c, util.c, ruleset.c, lka_session.c, aliases.c, expand.c and the texts of bounce.c.
"""
