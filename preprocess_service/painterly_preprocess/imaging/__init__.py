"""Cutting out, placing and masking, on plain arrays.

Photos and elements are RGBA uint8 H×W×4 with straight alpha, paintings and composites RGB uint8 H×W×3, alpha mattes
float32 H×W in [0, 1], masks bool H×W.
"""
