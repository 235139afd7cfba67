"""The record of what was done: append-only, durable before the deed, provable afterwards.

event → entry → appending      what an event says, its canonical bytes and commitments, and its rows in a transaction
recorder                       many requests share a commit; each is told after it is durable
sequencer → publisher          places in the Merkle tree; tiles, a signed checkpoint remembered outside, publication
sequencing, last_signed        one sequencer at a time; nothing smaller or inconsistent than what was signed
presence, intents              which processes are alive, and what a crash left open
reading, proofs, verify        opened events; inclusion and consistency; the whole log held against everything
export                         JSON lines for deploy/verify_log.py, which shares no code with this package

What the log proves, and to whom: an event under a signed checkpoint cannot be altered, moved or removed without being
told by anybody who holds that checkpoint or a later one. Events that wait for the next checkpoint (about a second) are
held together by their node's hash chain, which somebody who can write the database could make anew. Whoever holds the
signing key and the database can rewrite everything that no outside copy of a checkpoint covers: hence the configured
copy off the machine, and the public checkpoint that partners may keep.
"""
