"""One self-contained HTML page about a run: configuration, data, curves, classes, recovery, calibration, images."""

from sarlp.apps.run_report.page import write_run_report

__all__ = ['write_run_report']
