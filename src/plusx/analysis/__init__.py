"""What a net is and does: one question per file."""
