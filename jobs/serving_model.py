"""The model that MLflow stores: loaded from this code and a safetensors bundle, never from a pickle.

MLflow runs this file when a registered version is loaded (`mlflow.pyfunc.load_model`, `mlflow models serve`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from rddm.bundle import load_bundle


class ServedRestorer(PythonModel):  # type: ignore[misc]
    """Restores float32 images in [0, 1] of shape (batch, channels, height, width)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load and verify the bundle, once."""
        self._restorer = load_bundle(Path(context.artifacts["bundle"])).restorer()

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow knows the bare type only
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Restore a batch; image i of the batch draws its noise from seed `params["seed"] + i` (default 0)."""
        first = int((params or {}).get("seed", 0))
        seeds = range(first, first + len(model_input))
        restored = self._restorer.restore(torch.from_numpy(np.array(model_input)), seeds=seeds)
        return np.asarray(restored.numpy(), dtype=np.float32)


mlflow.models.set_model(ServedRestorer())
