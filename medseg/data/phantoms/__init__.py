"""Generated data sets, the embedded default: small lesions in 2-D and 3-D, and organs."""

from __future__ import annotations

from medseg.data.phantoms.phantom import Phantom

__all__ = ["Phantom"]
