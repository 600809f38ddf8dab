"""The configuration language: text to tokens to tree with positions to the frozen model, with every error of a run reported.

lexer, stream, parser and parse_* know the grammar and nothing of its meaning; compiler and compile_* know the meaning and nothing of
tokens; compilation is the way in for everyone else. Never logs, publishes or exits. OpenSMTPD: parse.y.
"""
