"""Every error that callers are meant to catch.

    RDDMError                        exit code 1
    ├── ConfigError                  2   a key, a type or a choice is wrong
    ├── DataError                    1   images, data sets and archives
    │   ├── EmptyDatasetError
    │   ├── UnreadableImageError
    │   ├── TooManyQuarantinedError
    │   └── StorageUnreachableError  5
    ├── BundleError                  1   a model on disk is damaged or of another version
    ├── ConversionError              1   a model has no counterpart in another project's form
    ├── TrainingError                1
    ├── RegistryError                1
    │   ├── ModelNotFoundError
    │   └── RegistryUnreachableError 5
    ├── GateRefusedError             3   a promotion gate does not hold
    └── ClusterError                 1
        ├── ClusterUnreachableError  5
        └── JobFailedError           1

Each carries one message, which says what was found, where, what was expected and what to do; all of them pickle.
"""

from __future__ import annotations

from typing import ClassVar


class RDDMError(Exception):
    """A failure that is understood; the command line prints it as one line."""

    exit_code: ClassVar[int] = 1


class ConfigError(RDDMError):
    """A config, an option or a name is wrong."""

    exit_code = 2


class DataError(RDDMError):
    """Images, a data set or an archive are not as they must be."""


class EmptyDatasetError(DataError):
    """There is nothing to work on."""


class UnreadableImageError(DataError):
    """A file cannot be read as an image."""


class TooManyQuarantinedError(DataError):
    """More of the input is bad than the config allows."""


class StorageUnreachableError(DataError):
    """The server of a bucket does not answer, or keeps failing."""

    exit_code = 5


class BundleError(RDDMError):
    """A model on disk is not whole, not ours, or of another version."""


class ConversionError(RDDMError):
    """A model cannot be read from another project's form, or has no counterpart there."""


class TrainingError(RDDMError):
    """A training cannot go on."""


class RegistryError(RDDMError):
    """The model registry cannot do what was asked."""


class ModelNotFoundError(RegistryError):
    """There is no such model, version or alias."""


class RegistryUnreachableError(RegistryError):
    """The tracking server or registry does not answer."""

    exit_code = 5


class GateRefusedError(RDDMError):
    """A promotion gate does not hold; nothing was changed."""

    exit_code = 3


class ClusterError(RDDMError):
    """The Ray cluster cannot do what was asked."""


class ClusterUnreachableError(ClusterError):
    """No Ray cluster answers."""

    exit_code = 5


class JobFailedError(ClusterError):
    """A job on the cluster failed."""
