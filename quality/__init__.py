"""What may be believed: judges, never fetches, never stores."""
