"""What `/ops` shows: metrics of all processes as one, their last hour, and what is wrong."""
