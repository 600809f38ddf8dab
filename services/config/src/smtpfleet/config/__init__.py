"""The config role: compiles smtpd.conf and pushes it to all roles.

`language` turns text into the frozen model of contracts.configuration; `publisher`, `watcher` and `app` carry it to the fleet and keep
it current; `cli` is `smtpfleet-config`. No other role reads smtpd.conf. OpenSMTPD: parse.y and config.c.
"""
