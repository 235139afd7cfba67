"""Who may see what, on whose word, until when."""
