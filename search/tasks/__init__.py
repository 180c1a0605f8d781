"""Tasks that come with the toolkit."""
