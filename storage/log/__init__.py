"""The record of what was done: append-only, durable before the deed, provable afterwards."""
