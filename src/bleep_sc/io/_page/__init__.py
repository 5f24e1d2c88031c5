"""What stands on the page of a slide, a module for each kind of thing. Writes no file."""
