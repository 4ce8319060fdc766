"""What the errors of S3, and of the way to it, mean: one line each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec
from botocore import exceptions as boto

from pipelines.storage.places import Action
from rddm.errors import DataError, StorageUnreachableError


class TornBodyError(Exception):
    """The connection ended before the body did, or nothing more came for too long."""


class UploadLostError(Exception):
    """The server no longer knows the upload: an earlier try may have completed it before its answer was lost."""


TORN = (
    aiohttp.ClientError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
    TimeoutError,
    ConnectionError,
)
"""A body that did not arrive as it was sent."""

NO_SUCH_RANGE = frozenset({"InvalidRange", "416"})
_UNREACHABLE = (*TORN, boto.ConnectionError, TornBodyError, UploadLostError)
_ERRORS = (OSError, ValueError, boto.BotoCoreError, boto.ClientError, *_UNREACHABLE)
_BUSY = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "429"})

_REGION = "its bucket lies in another region; set AWS_REGION to the bucket's"
_EXPIRED = "the credentials have expired; renew them"
_DENIED = "access is denied; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they permit"
_ABSENT = "it does not exist; check the name"
_CHANGED = "it was replaced meanwhile; start again"
_SAYINGS: Mapping[str, str] = {
    "NoSuchBucket": "its bucket does not exist; make the bucket, or check the name and AWS_ENDPOINT_URL",
    "InvalidBucketName": "its bucket's name is not valid; check the name",
    "NoSuchKey": _ABSENT,
    "404": _ABSENT,
    "InvalidAccessKeyId": "the server does not know the access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "403": _DENIED,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "PreconditionFailed": _CHANGED,
    "412": _CHANGED,
}


@contextmanager
def explained(uri: str, action: Action, tries: int) -> Iterator[None]:
    """Say what an error means, where, and what to do.

    Raises:
        StorageUnreachableError: The server does not answer, or keeps failing.
        DataError: Anything else.
    """
    try:
        yield
    except _ERRORS as error:
        raise _told(error, uri, action, tries) from None


def code_of(error: BaseException) -> str:
    """S3's code of an error, or the status of an answer without a body; empty where no server answered."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _told(error: Exception, uri: str, action: Action, tries: int) -> DataError:
    answer = _answer(error)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = code_of(error)
    if status >= 500 or code in _BUSY:
        tried = answer["ResponseMetadata"].get("RetryAttempts", 0) + 1
        found = f"{_server(error)} keeps failing ({_counted(tried)}, the last: {status} {code}); try again later"
        return StorageUnreachableError(_sentence(uri, action, found))
    if not answer and isinstance(error, _UNREACHABLE):
        return StorageUnreachableError(_sentence(uri, action, _unanswered(error, tries)))
    if action == "listed" and _SAYINGS.get(code) is _ABSENT:
        return DataError(f"{uri} does not exist; give an existing folder, archive or s3:// prefix")
    return DataError(_sentence(uri, action, _SAYINGS.get(code) or _refusal(error)))


def _sentence(uri: str, action: Action, found: str) -> str:
    end = ". Nothing stands under its name." if action == "written" else ""
    return " ".join(f"{uri} cannot be {action}: {found}{end}".split())


def _unanswered(error: Exception, tries: int) -> str:
    server = _server(error)
    if isinstance(error, boto.SSLError):
        return f"{server} cannot be trusted ({_reason(error)}); check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"
    if isinstance(error, TornBodyError):
        found = f"keeps cutting its answers short ({_counted(tries)}, the last: {error})"
    elif isinstance(error, UploadLostError):
        found = f"forgot the upload before it was complete ({_counted(tries)})"
    elif isinstance(error, (boto.ReadTimeoutError, boto.ConnectTimeoutError, TimeoutError)):
        found = f"does not answer in time ({_counted(tries)})"
    else:
        found = f"does not answer ({_counted(tries)}, the last: {_reason(error)})"
    return f"{server} {found}; check AWS_ENDPOINT_URL and the network"


def _refusal(error: Exception) -> str:
    """The words of an error that is not one of the server's usual ones."""
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return f"{error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role"
    if isinstance(error, boto.ParamValidationError):
        return f"{error.kwargs.get('report')}; check the name"
    if isinstance(error, OSError) and error.strerror and not error.__cause__:
        return f"{error.strerror}; check it and start again"
    return f"{error}; check AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE and the credentials"


def _reason(error: Exception) -> str:
    """The innermost words: what the operating system says, where it does."""
    cause = getattr(error, "kwargs", {}).get("error") or error
    system = getattr(cause, "os_error", None)
    if isinstance(system, OSError):
        # asyncio's words name the address once more; resolvers count their errors below zero.
        return os.strerror(system.errno) if system.errno and system.errno > 0 else str(system.strerror or system)
    return str(cause) or type(cause).__name__


def _server(error: Exception) -> str:
    """The server as the error names it, or as the environment does."""
    named = getattr(error, "kwargs", {}).get("endpoint_url")
    if named:
        parts = urlsplit(str(named))
        return f"the server at {parts.scheme}://{parts.netloc}"
    settings = [os.environ.get("AWS_ENDPOINT_URL_S3"), os.environ.get("AWS_ENDPOINT_URL")]
    configured = next(filter(None, [fsspec.config.conf.get("s3", {}).get("endpoint_url"), *settings]), None)
    return f"the server at {configured}" if configured else "AWS S3"


def _counted(tries: int) -> str:
    return "1 try" if tries == 1 else f"{tries} tries"


def _answer(error: BaseException) -> dict[str, Any]:
    """What the server answered, where an error comes from an answer."""
    for candidate in (error, error.__cause__):
        if isinstance(candidate, boto.ClientError):
            return dict(candidate.response)
    return {}
