"""Whether tensors fit a model: checked as a whole, before the first is copied."""

from collections.abc import Mapping

from torch import Tensor


def misfit(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor]) -> str:
    """The first names that are missing, unexpected or wrongly shaped, as a sentence; "" if none."""
    wrong = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name])}"
        for name in sorted(wanted.keys() & given.keys())
        if tuple(given[name].shape) != tuple(wanted[name])
    ]
    problems = (
        ("missing", sorted(wanted.keys() - given.keys())),
        ("unexpected", sorted(given.keys() - wanted.keys())),
        ("wrong shape", wrong),
    )
    return "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in problems if names)
