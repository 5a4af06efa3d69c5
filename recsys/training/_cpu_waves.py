"""Kernels that cut interactions into waves: those that share no row can be learned side by side."""

from sparsenum._numba import kernel

__all__ = ["cut_waves", "sort_waves"]


@kernel
def cut_waves(users, candidates, of_user, of_item, wave):
    """Write the wave of each interaction: one after all earlier ones that share a row with it.

    of_user and of_item come as zeros, and become how many waves there are until each row's last.
    """
    for k in range(users.size):
        depth = of_user[users[k]]
        for i in candidates[k]:
            depth = max(depth, of_item[i])
        wave[k] = depth
        of_user[users[k]] = depth + 1
        for i in candidates[k]:
            of_item[i] = depth + 1


@kernel
def sort_waves(wave, ends, order):
    """Write the interactions wave by wave, and in place of where waves end where they begin."""
    for k in range(wave.size - 1, -1, -1):
        ends[wave[k]] -= 1
        order[ends[wave[k]]] = k
