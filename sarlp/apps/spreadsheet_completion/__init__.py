from sarlp.apps.spreadsheet_completion.result import CompletedSpreadsheet
from sarlp.apps.spreadsheet_completion.run import complete

__all__ = ['CompletedSpreadsheet', 'complete']
