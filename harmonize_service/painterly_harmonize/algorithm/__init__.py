"""The method: pure functions over tensors that know nothing of the wire.

Read ``pipeline`` first, then ``pass1`` and ``pass2``. The conventions hold everywhere: images are RGB float32 in
[0, 1] of shape 1×3×H×W, masks are float32 of shape 1×1×H×W with the values 0 and 1, features are C×h×w.
References to sections are to the paper's method as restated in ``docs/algorithm.md``.
"""
