"""Turns a photo and a painting into a composite with its masks, as a gRPC service."""
