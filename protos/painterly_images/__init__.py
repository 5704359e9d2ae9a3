"""Encoded images to arrays and back, safely: the one decoder of both services."""
