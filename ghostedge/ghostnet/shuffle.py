"""The order in which MindSpore's own data sets shuffle their rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require


def shuffled(rows: int, seed: int, shard: int = 0, shards: int = 1) -> NDArray[np.intp]:
    """The rows of a data set with ``shuffle=True`` after ``mindspore.dataset.config.set_seed(seed)``.

    The order depends on how many rows there are and on nothing else of the data set, so that one of bare numbers has
    that of an ImageFolderDataset.

    Args:
        rows: how many rows the data set has.
        seed: 0 to 2**32 - 1.
        shard: ``shard_id``.
        shards: ``num_shards``; each shard has as many rows, for which the first ones may be taken twice.

    Returns:
        intp (rows of the shard,), each below `rows`.

    Raises:
        MissingExtraError: MindSpore is not installed.
    """
    dataset = require("mindspore.dataset", "mindspore")
    before = dataset.config.get_seed()
    dataset.config.set_seed(seed)
    try:
        sampler: Any = dataset.RandomSampler()
        if shards > 1:
            sampler = dataset.DistributedSampler(shards, shard, shuffle=True)
        numbers = dataset.NumpySlicesDataset({"row": np.arange(rows)}, sampler=sampler)
        order = [int(row) for (row,) in numbers.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    finally:
        dataset.config.set_seed(before)
    return np.array(order, np.intp)
