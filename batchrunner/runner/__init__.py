"""The loop: feed, admit, send, judge, record; and what one run opens and closes around it."""
