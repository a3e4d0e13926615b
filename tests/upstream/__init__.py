"""The scripted upstream: an OpenAI-compatible service that does exactly what a test says, when the test says it."""
from .service import Upstream, answers, fails, holds
from .vectors import Vectors, cosine

__all__ = ["Upstream", "Vectors", "answers", "cosine", "fails", "holds"]
