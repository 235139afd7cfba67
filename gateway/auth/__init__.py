"""Who is asking: credentials in, a `Requester` out."""
