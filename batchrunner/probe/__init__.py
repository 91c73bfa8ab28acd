"""A few small requests that find out what a gateway says of limits and errors."""
