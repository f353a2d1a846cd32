"""Public name of ``fastals.persistence.checkpoint``."""

from fastals.persistence.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
