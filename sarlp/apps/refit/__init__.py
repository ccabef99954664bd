from sarlp.apps.refit.refit import Refit, Row, format_refit, refit_checkpoint, refit_rows
from sarlp.apps.refit.row import Evidence, fit_row, objective

__all__ = ['Evidence', 'Refit', 'Row', 'fit_row', 'format_refit', 'objective', 'refit_checkpoint', 'refit_rows']
