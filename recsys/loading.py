"""Reading saved models back."""

import os
from typing import get_args

from recsys.autoencoder.sparse_ae import SparseAE
from recsys.blend.blend import ItemBlend
from recsys.factors.lightgcn import LightGCN
from recsys.factors.sparse_als import SparseALS
from recsys.factors.sparse_mf import SparseMF
from recsys.items.ease import EASE
from recsys.items.knn import ItemKNN
from recsys.items.popularity import Popularity
from recsys.items.rp3beta import RP3beta
from recsys.items.sansa import SANSA
from recsys.items.user_knn import UserKNN
from recsys.storage import files

Neighbours = ItemKNN | UserKNN | RP3beta
Factors = SparseMF | SparseALS | LightGCN | SparseAE
Model = ItemBlend | Factors | EASE | SANSA | Neighbours | Popularity


def load(path: str | os.PathLike[str]) -> Model:
    """Read a saved model back; the file is checked, not trusted.

    Parameters
    ----------
    path : path
        A file made by `save`.

    Returns
    -------
    model
        Ready to recommend, of the class that was saved: `ItemBlend`, `SparseAE` or any other.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no model, damaged, altered, or of a newer version.

    See Also
    --------
    recsys.ItemBlend : the default, whose `save` writes what this reads.

    Examples
    --------
    >>> import polars as pl
    >>> import recsys
    >>> from tempfile import TemporaryDirectory
    >>> events = pl.DataFrame({"user": [1, 1, 2], "item": ["tea", "mug", "tea"]})
    >>> model = recsys.Popularity().fit(recsys.Interactions.read(events, user="user", item="item"))
    >>> with TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     again = recsys.load(f"{folder}/model.npz")
    >>> again.recommend([2], k=1)["item"].to_list()
    ['mug']
    """
    header, arrays = files.read(path)
    models: dict[str, type[Model]] = {model.name: model for model in get_args(Model)}
    try:
        return models[header["model"]]._from_file(header, arrays)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"path must be that of a model file of this library: got {str(path)!r}, in which "
            f"something is missing or unsound ({error}); save the model again"
        ) from None
