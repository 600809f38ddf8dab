"""The only shared code with I/O: bus, store, resolver, lifecycle, settings, mail log, metrics, health.

Each outside library sits behind one module here. Services receive these objects and decide nothing about them.
"""
