"""What is held: catalog, archives, and the log of what was done with them. Nothing here knows what a consent is."""
