"""Tables beyond text in the configuration: what their backends answer, and who may ask.

`db` and `passwd` read files at compile time; `sqlite`, `mysql`, `postgres`, `ldap`, `redis` and `proc` ask when they are asked;
`server` answers the fleet over the bus. No other role knows a backend. OpenSMTPD: table_*.c and the table-* helpers.
"""
