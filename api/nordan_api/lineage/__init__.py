"""What was made of what, where it may be, and how it may become wider."""
