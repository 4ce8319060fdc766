"""The checks of the pair doctor: to import this package is to register them all, in the order of their help."""

from pipelines.doctor.checks import listing, files, pairs, sets, leaks  # noqa: F401, I001 - in the order that people read
from pipelines.doctor.findings import CHECKS, find_all

__all__ = ["CHECKS", "find_all"]
