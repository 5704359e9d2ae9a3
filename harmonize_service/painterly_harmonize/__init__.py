"""Runs the harmonization of painterly images as a gRPC service."""
