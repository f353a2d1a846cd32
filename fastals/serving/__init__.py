"""What a fitted model answers: fold-in, top-N lists, explanations, and vectors for search libraries."""
