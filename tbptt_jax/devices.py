"""Work that is the same many times over, split over the local devices."""

from collections.abc import Callable

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import PyTree


def over_devices(function: Callable[[PyTree, PyTree], PyTree], whole: PyTree, stacked: PyTree) -> PyTree:
    """`function(whole, stacked)`, whose output is stacked as `stacked` is along leading axes of one length, with these
    axes split over the local devices, as many of them as divide it. Nothing may depend on how they are split."""
    length = jax.tree.leaves(stacked)[0].shape[0]
    devices = max(n for n in range(1, jax.local_device_count() + 1) if length % n == 0)
    split_already = not jax.sharding.get_abstract_mesh().empty  # by a caller, on these same devices
    if devices == 1 or split_already:
        return function(whole, stacked)
    mine = jax.local_devices()[:devices]
    mesh = jax.make_mesh((devices,), ("parts",), axis_types=(AxisType.Auto,), devices=mine)
    specs = (PartitionSpec(), PartitionSpec("parts"))
    # nothing crosses devices here, so JAX need not follow what varies over them
    return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=specs[1], check_vma=False)(whole, stacked)
