"""The contract between Painterly's services and their callers, and how to speak it."""
