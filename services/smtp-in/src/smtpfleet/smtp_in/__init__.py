"""smtp-in: SMTP sessions in. The first role a message meets; see the role card in services/smtp-in/README.md.

`server` speaks to sockets (on aiosmtpd), `session` is the conversation as a state machine without sockets, `data` reads content,
`committer` hands messages to queue. OpenSMTPD: the smtp half of the pony process (smtp.c, smtp_session.c).
"""
