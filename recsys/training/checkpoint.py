"""Checkpoints: where a training stands after an epoch, on disk, to go on from bit for bit."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.scores.toplists import Scores
from recsys.storage import files
from recsys.training.loop import Epoch, T, Training, Watch
from recsys.training.monitor import Monitor
from sparsenum.nn.optimizers import Optimizer
from sparsenum.nn.table import Table
from sparsenum.sparse import CSR

KEPT = 2  # the last, and the one before in case the last is damaged
MARK = "checkpoint"


class Checkpoints:
    """A folder with the latest checkpoints of one training.

    Parameters
    ----------
    folder : path
        Made if there is none.
    fingerprint : str
        Of data and parameters: nothing else can be gone on with.
    resume : bool
        Whether to go on from what is there; where it is not, the folder must hold no checkpoint.
    """

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str, resume: bool) -> None:
        self.folder, self.fingerprint = Path(folder), fingerprint
        self.folder.mkdir(exist_ok=True)
        if self._files() and not resume:
            raise ValueError(
                f"checkpoint must be a folder without checkpoints: got {str(folder)!r}, which has "
                "some; go on from them with resume, or choose another folder"
            )

    def save(self, training: Training[Any], monitor: Monitor) -> None:
        """Write a checkpoint, whole or not at all, and remove all but the last two."""
        header: dict[str, Any] = {
            "model": MARK,
            "fingerprint": self.fingerprint,
            "epoch": training.epoch,
            "seconds": training.seconds,
            "rng": training.rng.bit_generator.state,
            "history": monitor.history,
            "looks_since_best": monitor.looks_since_best,
        }
        if np.isfinite(monitor.best_quality):
            header["best_quality"] = monitor.best_quality
        arrays: dict[str, NDArray[Any]] = {}
        sides = sides_of(training.tables)
        for side, table, watch in zip(sides, training.tables, training.watches, strict=True):
            arrays |= _packed(side, table.weights)
            arrays[f"{side}_state"] = table.state
            arrays[f"{side}_rows"], arrays[f"{side}_active"] = watch.rows, watch.been_active
        if training.derivative is not None:
            arrays |= _packed("derivative", training.derivative)
        for side, best in zip(sides, monitor.best or (), strict=False):
            arrays |= _packed(f"best_{side}", best)
        files.write(self.folder / f"epoch-{training.epoch:06d}.npz", header, arrays)
        for old in self._files()[:-KEPT]:
            old.unlink()

    def load(self, training: Training[T], monitor: Monitor) -> Training[T]:
        """Return the training of the latest sound checkpoint, or the given one if there is none."""
        fact = ""
        for path in reversed(self._files()):
            try:
                header, arrays = files.read(path)
            except ValueError as error:
                fact = fact or str(error)
                continue  # damaged: the one before will do
            if header.get("model") != MARK or header["fingerprint"] != self.fingerprint:
                raise ValueError(
                    "checkpoint must be of the same data and parameters: got "
                    f"{str(self.folder)!r}, which is of others; choose another folder, or train "
                    "as you did there"
                )
            return self._restored(header, arrays, training, monitor)
        if fact:
            raise ValueError(
                f"checkpoint must be a folder with a sound checkpoint: got {str(self.folder)!r}, "
                f"where none can be read ({fact}); remove them to begin at the first epoch"
            )
        return training

    def _restored(
        self, header: dict[str, Any], arrays: dict[str, Any], fresh: Training[T], monitor: Monitor
    ) -> Training[T]:
        optimizer: Optimizer = fresh.tables[0].optimizer
        sides, shapes = sides_of(fresh.tables), [table.weights.shape for table in fresh.tables]
        tables = (
            Table(_unpacked(side, arrays, shape), arrays[f"{side}_state"], optimizer)
            for side, shape in zip(sides, shapes, strict=True)
        )
        watches = [Watch(arrays[f"{s}_rows"], arrays[f"{s}_active"]) for s in sides]
        fresh.rng.bit_generator.state = header["rng"]
        monitor.history = header["history"]
        monitor.looks_since_best = header["looks_since_best"]
        if "best_quality" in header:
            monitor.best_quality = header["best_quality"]
            monitor.best = tuple(
                _unpacked(f"best_{side}", arrays, shape)
                for side, shape in zip(sides, shapes, strict=True)
            )
        derivative = None
        if "derivative_indptr" in arrays:
            derivative = _unpacked("derivative", arrays, (shapes[0][0], shapes[1][0]))
        kind: Any = type(fresh.tables)
        epoch, seconds = header["epoch"], header["seconds"]
        return Training(kind(*tables), watches, fresh.rng, epoch, derivative, seconds)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("epoch-*.npz"))


def sides_of(tables: Any) -> list[str]:
    """Return what the arrays of each table are named for in a file."""
    return [name.removesuffix("s") for name in tables._fields]


def resumed(fresh: Training[T], monitor: Monitor, checkpoints: Checkpoints | None) -> Training[T]:
    """Return the training to go on with: from a checkpoint, if there is one."""
    return fresh if checkpoints is None else checkpoints.load(fresh, monitor)


def noted(
    epoch: Epoch,
    training: Training[Any],
    monitor: Monitor,
    scores: Callable[..., Scores],
    checkpoints: Checkpoints | None,
) -> bool:
    """Show an epoch to the monitor, keep a checkpoint, and return whether to stop."""
    tables = tuple(table.weights for table in training.tables)
    is_over = monitor.see(asdict(epoch), tables, scores)
    if checkpoints is not None:
        checkpoints.save(training, monitor)
    return is_over


def fingerprint(parameters: dict[str, Any], *matrices: CSR | None) -> str:
    """Return a digest of what a training depends on."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for matrix in matrices:
        for array in () if matrix is None else matrix.arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def _packed(name: str, matrix: CSR) -> dict[str, NDArray[Any]]:
    return {
        f"{name}_indptr": matrix.indptr,
        f"{name}_indices": matrix.indices,
        f"{name}_data": matrix.data,
    }


def _unpacked(name: str, arrays: dict[str, Any], shape: tuple[int, int]) -> CSR:
    indptr, indices, data = (arrays[f"{name}_{part}"] for part in ("indptr", "indices", "data"))
    return CSR(indptr, indices, data, shape)
