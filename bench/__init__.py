"""The measuring harness: load, sink, counting of CPU, and the programs that print our figures beside those of Postfix and OpenSMTPD.

Nothing here is part of the product and no service imports it. Each program is run as `python -m bench.NAME` from the root of the
repository; `make bench` and `make chaos` do that.
"""
