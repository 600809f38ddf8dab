"""The modern form of the language, of OpenSMTPD 6.4 and later: `action` says how mail is delivered, `match` which mail.

Shares lexer, stream, tables, scope and diagnostics with the classic form beside it and compiles to the same model. keywords, tree,
parse_* and parser know its grammar; compile_* its meaning. form.py, a folder up, decides which form a file is in. OpenSMTPD: parse.y of 7.8.
"""
