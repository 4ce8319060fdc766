"""`rddm ui`: MLflow's page over a run's tracking store."""

from __future__ import annotations

import socket
import subprocess
import sys

from jobs.config import RunConfig
from jobs.terminal import Terminal
from jobs.workspace import tracking_uri
from rddm.errors import ConfigError


def serve(config: RunConfig, terminal: Terminal, *, port: int) -> None:
    """Serve the page on loopback until interrupted.

    Raises:
        ConfigError: The port is in use, or the store is a server, which has a page of its own.
    """
    uri = tracking_uri(config)
    if uri.startswith(("http://", "https://")):
        raise ConfigError(f"The run is tracked at {uri}; open that address in a browser.")
    _check_free(port)
    terminal.say(f"MLflow over {uri}: http://127.0.0.1:{port} (Ctrl-C ends it)")
    subprocess.run(
        [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)],
        check=False,
    )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} is in use or not allowed ({error.strerror}); choose another with --port."
            ) from None
