"""Row to HTTP body and HTTP body to reply, and what to do after a try. All pure."""
