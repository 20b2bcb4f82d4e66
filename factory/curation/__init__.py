"""From raw sources to clean documents and seed passages."""
