"""From data and objective to factors: the sides, the eigenbasis, half-sweeps, and the iteration over sweeps."""
