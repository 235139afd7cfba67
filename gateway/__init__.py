"""The edge: HTTP, the command line, and the story of each request in `transactions.py`."""
