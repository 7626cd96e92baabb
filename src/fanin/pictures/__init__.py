"""What a run looks like: the losses as a figure, the progress on a terminal."""
