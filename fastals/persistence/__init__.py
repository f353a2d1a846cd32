"""Models and running fits on disk, in files that are read without pickle."""
