"""The `openpriors` command, one module per family of commands."""
