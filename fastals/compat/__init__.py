"""Other libraries' faces on fastals, for scripts that change one import."""
