"""The exact top-N walk over items by falling norm."""
