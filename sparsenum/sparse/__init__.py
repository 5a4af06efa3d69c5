"""Computing with sparse matrices: compressed rows, products, selection, conjugate gradients."""

from sparsenum.sparse.cg import CGResult, cg
from sparsenum.sparse.formats import CSR, ELL
from sparsenum.sparse.products import rows_times_sparse, spmm, spmv, spmv_t, transpose
from sparsenum.sparse.schur import schur_cg, schur_direct
from sparsenum.sparse.selection import row_top_k

__all__ = [
    "CSR",
    "ELL",
    "CGResult",
    "cg",
    "row_top_k",
    "rows_times_sparse",
    "schur_cg",
    "schur_direct",
    "spmm",
    "spmv",
    "spmv_t",
    "transpose",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
