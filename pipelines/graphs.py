"""What all Ray Data graphs share: how one runs, and how its failure is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.data
from ray.data.exceptions import SystemException, UserCodeException
from ray.exceptions import RayError

from rddm.errors import ClusterError, RDDMError, StorageUnreachableError


def actor_options(num_actors: int, *, num_cpus: float = 1) -> dict[str, Any]:
    """Arguments of `Dataset.map` for a pool of at most `num_actors` stateful workers; one that dies is replaced."""
    return {
        "num_cpus": num_cpus,
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, num_actors)),
    }


@contextmanager
def told_plainly(what: str) -> Iterator[None]:
    """Turn a failure inside Ray into an error with its cause in one line.

    Args:
        what: What was being done, for the message.

    Raises:
        StorageUnreachableError: A worker found that the storage does not answer.
        ClusterError: Workers failed in another way; an error of our own that a worker raised is named in it.
    """
    try:
        yield
    except RDDMError:
        raise
    except (RayError, UserCodeException, SystemException) as error:
        if "StorageUnreachableError:" in (cause := root_cause(error)):
            raise StorageUnreachableError(cause.partition("StorageUnreachableError:")[2].strip()) from error
        raise ClusterError(f"{what} failed in a worker: {cause}") from error


def root_cause(error: BaseException) -> str:
    """The line of a nested failure that a person can act on: the last one that names an exception."""
    texts = [str(item) for item in (error, error.__cause__) if item is not None]
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0] and " " not in line.split(":")[0]]
    return (named or lines or [type(error).__name__])[-1][:500]
