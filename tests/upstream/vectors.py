"""Embeddings that a test chooses: a text has either a vector set for it, or one drawn from its own bytes.

Vectors drawn from different texts are close to orthogonal, so texts that nobody related never mean the same.
`near()` makes a vector with an exact cosine to another text's.
"""
import base64
import hashlib
import math
import random
import struct

DIMENSIONS = 256


def cosine(a, b):
    """The cosine of two vectors of one length."""
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def unit(vector):
    """`vector` scaled to length 1."""
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def encode(vector):
    """The vector as OpenAI's base64 form: float32, little endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


class Vectors:
    """Text -> unit vector of `dimensions` floats, the same in every process."""

    def __init__(self, dimensions=DIMENSIONS):
        self.dimensions = dimensions
        self._chosen = {}

    def of(self, text):
        """The vector of `text`."""
        return self._chosen.get(text) or self._drawn(text)

    def set(self, text, vector):
        """From now on `text` has this vector, as it is: not scaled, not checked."""
        self._chosen[text] = list(vector)

    def near(self, text, other, similarity):
        """From now on the cosine of `text` to `other` is `similarity`; nothing else is close to it."""
        base = self.of(other)
        own = self._drawn(text)
        along = sum(x * y for x, y in zip(own, base))
        across = unit([x - along * y for x, y in zip(own, base)])
        rest = math.sqrt(max(0.0, 1.0 - similarity * similarity))
        self._chosen[text] = [similarity * y + rest * x for x, y in zip(across, base)]
        return text

    def _drawn(self, text):
        draw = random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        return unit([draw.gauss(0.0, 1.0) for _ in range(self.dimensions)])
