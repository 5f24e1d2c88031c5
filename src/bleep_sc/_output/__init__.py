"""What leaves the process: files that appear when they are complete, pages, messages. Nothing here computes."""
