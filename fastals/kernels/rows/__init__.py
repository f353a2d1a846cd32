"""One row's normal equations: what its entries are, and how they are solved."""
