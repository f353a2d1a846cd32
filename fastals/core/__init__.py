"""What every room rests on: canonical rows, checks of arguments, parameters, progress, and files opened with care."""
